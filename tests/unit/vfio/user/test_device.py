# SPDX-License-Identifier: GPL-2.0-or-later
"""The device's calls, against the real server."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.interrupts import Interrupts
from passthru.emulation.model import Model
from passthru.emulation.regions import MemoryRegion
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import Call, DeviceInfo, IrqInfo, RegionInfo
from passthru.vfio.info_capabilities import SparseMmap
from tests.unit.emulation.scratch_model import MAPPABLE, MEMORY, READ_ONLY, STORE, TRAPPED, WHOLE_MEMORY
from tests.unit.vfio.user.servers import opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.user.target import UserOpened

SCR = 7  # a register of mtty that keeps what is written
CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX
ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
TRIGGER = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
TRIGGER_SOME = vfio.VFIO_IRQ_SET_DATA_BOOL | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
VECTORS = 20  # more than the server takes descriptors in a message


class _Wide(Model):
    """A device with a large region and many interrupts."""

    def __init__(self) -> None:
        super().__init__(Model.Options())
        self.memory = MemoryRegion(3 << 20)
        self.regions = (self.memory,)
        self.irqs = (Interrupts(vfio.VFIO_IRQ_INFO_EVENTFD, VECTORS),)


def test_it_is_an_mtty(mtty: UserOpened) -> None:
    device = mtty.device
    assert device.info() == DeviceInfo(vfio.VFIO_DEVICE_FLAGS_PCI, 9, 5)
    assert device.region_info(1) == RegionInfo(1, 3, 8, 1 << 40)
    assert device.irq_info(0) == IrqInfo(0, 7, 1)
    assert device.read(CONFIG, 0, 4) == bytes.fromhex("48435332")
    assert device.transport == "vfio-user"


def test_registers_keep_what_is_written(mtty: UserOpened) -> None:
    for value in (b"\x00", b"\xa5", b"\xff"):
        assert mtty.device.write(0, SCR, value) == 1
        assert mtty.device.read(0, SCR, 1) == value


@pytest.mark.parametrize(
    ("number", "refused"),
    [
        (errno.EINVAL, lambda device: device.region_info(9)),
        (errno.EINVAL, lambda device: device.irq_info(2)),
        (errno.EINVAL, lambda device: device.read(9, 0, 1)),
        (errno.EINVAL, lambda device: device.read(0, 8, 1)),
        (errno.EINVAL, lambda device: device.write(0, 7, b"ab")),
        (errno.EINVAL, lambda device: device.read(0, (1 << 64) - 1, 1)),
        (errno.EINVAL, lambda device: device.set_irqs(TRIGGER, 7)),
        (errno.ENOTTY, lambda device: device.set_irqs(ASSIGN, 3)),
        (errno.EINVAL, lambda device: device.feature(1 | 1 << 16, bytes(8))),
        (errno.EINVAL, lambda device: device.map(0, 0, 4096)),
        (errno.EINVAL, lambda device: device.call(Call.GET_INFO, bytes(16))),
    ],
)
def test_what_is_refused_tells_its_errno_and_changes_nothing(
    mtty: UserOpened, number: int, refused: Callable[[object], object]
) -> None:
    mtty.device.write(0, SCR, b"\x5a")
    with pytest.raises(OSError) as raised:
        refused(mtty.device)
    assert raised.value.errno == number
    assert not isinstance(raised.value, (ConnectionError, TimeoutError))
    assert mtty.device.read(0, SCR, 1) == b"\x5a"


def test_long_accesses_go_in_several_messages() -> None:
    model = _Wide()
    data = os.urandom(3 << 20)
    with opened(model) as made:
        assert made.device.write(0, 0, data) == len(data)
        assert made.device.read(0, 0, len(data)) == data
        assert made.device.read(0, 5, 4097) == data[5 : 5 + 4097]
    model.close()


def test_more_eventfds_than_a_message_takes(new_eventfd: Callable[[], int]) -> None:
    model = _Wide()
    eventfds = [new_eventfd() for _ in range(VECTORS)]
    without = [*eventfds[:3], -1, *eventfds[4:]]
    with opened(model) as made:
        made.device.set_irqs(ASSIGN, 0, 0, VECTORS, descriptors=eventfds)
        made.device.set_irqs(ASSIGN, 0, 0, VECTORS, descriptors=without)
        made.device.set_irqs(TRIGGER, 0, 0, VECTORS)
        made.device.set_irqs(TRIGGER_SOME, 0, 2, 3, bools=b"\x00\x01\x01")
        counts = [os.eventfd_read(each) for each in without if each >= 0]
        assert counts == [2 if number == 3 else 1 for number in range(VECTORS - 1)]
        with pytest.raises(BlockingIOError):
            os.eventfd_read(eventfds[3])
    model.close()


def test_descriptors_without_a_place_are_refused(mtty: UserOpened, new_eventfd: Callable[[], int]) -> None:
    with pytest.raises(OSError, match="DEVICE_SET_IRQS") as raised:
        mtty.device.set_irqs(ASSIGN, 0, 0, 1, descriptors=[new_eventfd(), new_eventfd()])
    assert raised.value.errno == errno.EINVAL


def test_an_interrupt_is_waited_for(mtty: UserOpened, new_eventfd: Callable[[], int]) -> None:
    eventfd = new_eventfd()
    assert not mtty.device.wait_readable(eventfd, 0)
    mtty.device.set_irqs(ASSIGN, 0, descriptors=[eventfd])
    mtty.device.write(0, 1, b"\x02")  # IER: transmitter empty
    assert mtty.device.wait_readable(eventfd, 5)
    assert os.eventfd_read(eventfd) == 1


def test_parts_of_a_region_can_be_mapped(scratch: UserOpened) -> None:
    device = scratch.device
    info = device.region_info(MEMORY)
    assert info.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP
    assert info.capabilities == (SparseMmap(((TRAPPED, MAPPABLE),)),)
    with device.map(MEMORY, TRAPPED, MAPPABLE) as memory:
        memory[4:8] = b"abcd"
        assert device.read(MEMORY, TRAPPED + 4, 4) == b"abcd"
        device.write(MEMORY, TRAPPED + 4, b"dcba")
        assert memory[4:8] == b"dcba"
    for offset, size in ((0, 0x1000), (TRAPPED, MAPPABLE + 0x1000), (TRAPPED, 0)):
        with pytest.raises(OSError, match="cannot be mapped") as raised:
            device.map(MEMORY, offset, size)
        assert raised.value.errno == errno.EINVAL


def test_a_whole_region_can_be_mapped(scratch: UserOpened) -> None:
    size = scratch.device.region_info(WHOLE_MEMORY).size
    with scratch.device.map(WHOLE_MEMORY, 0, size) as memory:
        scratch.device.write(WHOLE_MEMORY, size - 1, b"z")
        assert memory[-1:] == b"z"


def test_posted_and_gathered_writes_are_in_order(scratch: UserOpened) -> None:
    scratch.device.write_posted(0, STORE, b"one")
    assert scratch.device.read(0, STORE, 3) == b"one"
    assert scratch.device.write_multi([(0, STORE, b"12345678"), (0, STORE + 2, b"x"), (0, STORE + 8, b"abcd")]) == 3
    assert scratch.device.read(0, STORE, 12) == b"12x45678abcd"
    with pytest.raises(OSError, match="REGION_WRITE_MULTI"):
        scratch.device.write_multi([(READ_ONLY, 0, b"a")])


def test_region_io_descriptors(scratch: UserOpened) -> None:
    assert scratch.device.region_io_fds(0) == (b"", [])


def test_a_reset_only_where_there_is_one(mtty: UserOpened, engine: UserOpened) -> None:
    assert engine.device.info().flags & vfio.VFIO_DEVICE_FLAGS_RESET
    engine.device.write(0, 0x80, b"\x01" * 8)
    engine.device.reset()
    assert engine.device.read(0, 0x80, 8) == bytes(8)


def test_a_call_goes_as_it_stands(mtty: UserOpened) -> None:
    info = mtty.device.call(Call.GET_IRQ_INFO, vfio.IRQ_INFO.pack(16, 0xFFFFFFFF, 1, 77))
    assert vfio.IRQ_INFO.unpack(info) == (16, 9, 1, 1)
    with pytest.raises(OSError) as raised:
        mtty.device.call(Call.GET_REGION_INFO, vfio.REGION_INFO.pack(31, 0, 0, 0, 0, 0))
    assert raised.value.errno == errno.EINVAL


def test_the_transcript_tells_what_was_sent_and_what_came(mtty: UserOpened) -> None:
    mtty.device.write(0, SCR, b"\x42")
    mtty.device.read(0, SCR, 1)
    with pytest.raises(OSError):
        mtty.device.irq_info(2)
    assert mtty.device.transcript.lines(3) == [
        "REGION_WRITE 0 7 42",
        "REGION_READ 0 7 1 -> 42",
        "DEVICE_GET_IRQ_INFO argsz=0x10 flags=0 index=2 count=0 -> EINVAL",
    ]


def test_closing_again_does_nothing_and_calls_say_so(mtty: UserOpened, new_eventfd: Callable[[], int]) -> None:
    mtty.close()
    mtty.close()
    for call in (
        mtty.device.info,
        lambda: mtty.device.read(0, 0, 1),
        lambda: mtty.device.write(0, 0, b"a"),
        lambda: mtty.device.wait_readable(new_eventfd(), 1),
        lambda: mtty.device.set_irqs(ASSIGN, 0, descriptors=[new_eventfd()]),
        mtty.device.reset,
    ):
        with pytest.raises(ConnectionError, match="closed by us"):
            call()
