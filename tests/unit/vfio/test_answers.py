# SPDX-License-Identifier: GPL-2.0-or-later
"""Info structures: asked again where the capabilities need room, and answers that nobody can use."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import answers
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import DeviceInfo, IrqInfo, RegionInfo
from passthru.vfio.info_capabilities import PciAtomicCompletion, SparseMmap, pack_capabilities
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

AREAS = ((0x1000, 0x2000), (0x8000, 0x1000))


class Asked:
    """Answers in turn, the last one again and again; remembers what was asked."""

    def __init__(self, *answered: bytes) -> None:
        self.answered = list(answered)
        self.structures: list[bytes] = []

    def __call__(self, structure: bytes) -> bytes:
        self.structures.append(structure)
        return self.answered.pop(0) if len(self.answered) > 1 else self.answered[0]


def region(argsz: int, *, flags: int = 7, index: int = 2, cap_offset: int = 0) -> bytes:
    return vfio.REGION_INFO.pack(argsz, flags, index, cap_offset, 0x10000, 2 << 40)


def with_areas(argsz: int) -> bytes:
    """As the kernel answers: with too little room it tells how much is needed."""
    chain = pack_capabilities((SparseMmap(AREAS),))
    needed = vfio.REGION_INFO.size + len(chain)
    if argsz < needed:
        return region(needed, flags=15)
    return region(argsz, flags=15, cap_offset=vfio.REGION_INFO.size) + chain


def test_a_region_without_capabilities_is_asked_for_once() -> None:
    call = Asked(region(32))
    assert answers.region_info(call, 2) == RegionInfo(2, 7, 0x10000, 2 << 40)
    assert call.structures == [vfio.REGION_INFO.pack(32, 0, 2, 0, 0, 0)]


def test_a_region_is_asked_for_again_with_the_room_that_its_capabilities_need() -> None:
    asked = []

    def call(structure: bytes) -> bytes:
        asked.append(structure)
        return with_areas(int.from_bytes(structure[:4], "little"))

    assert answers.region_info(call, 2) == RegionInfo(2, 15, 0x10000, 2 << 40, (SparseMmap(AREAS),))
    assert asked == [vfio.REGION_INFO.pack(argsz, 0, 2, 0, 0, 0) for argsz in (32, 32 + 16 + 32)]


def test_a_device_that_knows_no_capabilities_answers_with_16_bytes() -> None:
    assert answers.device_info(Asked(vfio.DEVICE_INFO.pack(16, 2, 9, 5))) == DeviceInfo(2, 9, 5)


def test_a_device_has_capabilities() -> None:
    chain = vfio.INFO_CAP_HEADER.pack(5, 1, 0) + vfio.PCI_ATOMIC_COMP.pack(3, 0)

    def call(structure: bytes) -> bytes:
        argsz = int.from_bytes(structure[:4], "little")
        fits = argsz >= 24 + len(chain)
        head = vfio.DEVICE_INFO.pack(argsz if fits else 24 + len(chain), 0x82, 9, 5)
        return head + vfio.DEVICE_INFO_CAPS.pack(24 if fits else 0, 0) + (chain if fits else b"")

    assert answers.device_info(call) == DeviceInfo(0x82, 9, 5, (PciAtomicCompletion(3),))


def test_an_irq() -> None:
    assert answers.irq_info(Asked(vfio.IRQ_INFO.pack(16, 9, 1, 4)), 1) == IrqInfo(1, 9, 4)


def test_a_refusal_stays_what_it_is() -> None:
    def call(_: bytes) -> bytes:
        raise OSError(errno.EINVAL, "no such index")

    with pytest.raises(OSError, match="no such index") as raised:
        answers.region_info(call, 99)
    assert raised.value.errno == errno.EINVAL


def _region(*answered: bytes) -> Callable[[], object]:
    return lambda: answers.region_info(Asked(*answered), 2)


@pytest.mark.parametrize(
    ("asking", "sentence"),
    [
        (_region(b""), "0 bytes came"),
        (_region(region(32)[:31]), "31 bytes came, which has 32"),
        (_region(region(32, index=3)), "asked for region 2, the answer is of region 3"),
        (_region(region(32, flags=15)), "promise capabilities, and cap_offset is 0"),
        (_region(region(1 << 31)), "asks for 2147483648 bytes of room"),
        (_region(region(64), region(96)), "asked for 64 bytes of room, and with those for 96"),
        (_region(region(32, flags=15, cap_offset=32)), "a capability at offset 32 of 32 bytes"),
        (lambda: answers.irq_info(Asked(vfio.IRQ_INFO.pack(16, 9, 0, 1)), 1), "the answer is of index 0"),
        (lambda: answers.irq_info(Asked(bytes(15)), 1), "15 bytes came"),
        (lambda: answers.device_info(Asked(vfio.DEVICE_INFO.pack(16, 0x82, 9, 5))), "came in 16 bytes"),
        (lambda: answers.device_info(Asked(bytes(3))), "3 bytes came"),
    ],
)
def test_answers_that_nobody_can_use(asking: Callable[[], object], sentence: str) -> None:
    with pytest.raises(Malformed, match=sentence):
        asking()
