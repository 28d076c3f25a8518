# SPDX-License-Identifier: GPL-2.0-or-later
"""Nonsense, at random by a seed that is told: whatever comes back, the device goes on as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_features as features
from passthru.vfio.conform import places
from passthru.vfio.conform.capabilities import irqs_of
from passthru.vfio.conform.irq_calls import EVENTFD, NONE, TRIGGER, enabled, loop
from passthru.vfio.conform.registry import test
from passthru.vfio.device import Call

if TYPE_CHECKING:
    from random import Random

    from passthru.vfio.conform.case import Case

_HEADER = "<linux/vfio.h>: argsz and flags let structures grow; what is not understood is refused"
_ROUNDS = 150
_EDGES = (
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    15,
    16,
    19,
    20,
    31,
    32,
    64,
    0xFF,
    0x1000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
_INFOS = (
    (Call.GET_INFO, vfio.DEVICE_INFO.size),
    (Call.GET_REGION_INFO, vfio.REGION_INFO.size),
    (Call.GET_IRQ_INFO, vfio.IRQ_INFO.size),
)
_DMA_BUF_AND_LOGGING = (
    features.VFIO_DEVICE_FEATURE_DMA_BUF,
    features.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
)


@test(cites=_HEADER)
def random_info_requests_do_no_harm(case: Case) -> None:
    """Info structures of random argsz, flags and indexes leave the device as it was."""
    before = _described(case)
    for _ in range(_ROUNDS):
        call, size = case.random.choice(_INFOS)
        numbers = [_number(case.random) for _ in range(size // 4)]
        _try(case, call, b"".join(number.to_bytes(4, "little") for number in numbers))
    _unchanged(case, before)


@test("irq", cites=_HEADER)
def random_interrupt_requests_do_no_harm(case: Case) -> None:
    """SET_IRQS of random flags, indexes, ranges and data leaves the device as it was, once its indexes are disabled."""
    before = _described(case)
    eventfds = [case.eventfd() for _ in range(8)]
    for _ in range(_ROUNDS):
        flags = case.random.choice((case.random.getrandbits(6), case.random.getrandbits(7), _number(case.random)))
        index = case.random.choice((*range(6), _number(case.random)))
        start = case.random.choice((0, 0, 1, 2, _number(case.random)))
        count = case.random.choice((0, 1, 1, 2, 4, _number(case.random)))
        if flags & EVENTFD:
            chosen, data = [case.random.choice(eventfds) for _ in range(min(count, 8))], b""
        else:
            chosen, data = [], case.random.randbytes(min(count, 64))
        argsz = vfio.IRQ_SET.size + len(data) + 4 * len(chosen)
        if not case.random.randrange(8):
            argsz = _number(case.random)
        _try(case, Call.SET_IRQS, vfio.IRQ_SET.pack(argsz, flags, index, start, count) + data, chosen)
    for irq in case.irqs():
        _try(case, Call.SET_IRQS, vfio.IRQ_SET.pack(vfio.IRQ_SET.size, NONE | TRIGGER, irq.index, 0, 0))
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            loop(case.device, irq.index)
            case.expect(case.signals(eventfd) == 1, f"index {irq.index} does not signal any more")
    _unchanged(case, before)


@test(cites=_HEADER)
def random_feature_requests_do_no_harm(case: Case) -> None:
    """VFIO_DEVICE_FEATURE of random numbers and flags, but for setting what there is, leaves the device as it was."""
    before = _described(case)
    for _ in range(_ROUNDS):
        number = case.random.choice((*range(len(features.FEATURE_NAMES)), case.random.getrandbits(16)))
        flags = case.random.choice((0, 1, 4, 5, 6, 7, case.random.getrandbits(16))) << 16
        known = number < len(features.FEATURE_NAMES) + 16  # and what newer kernels have
        if known and not flags & features.VFIO_DEVICE_FEATURE_PROBE:
            flags &= ~features.VFIO_DEVICE_FEATURE_SET
            if number in _DMA_BUF_AND_LOGGING or number >= len(features.FEATURE_NAMES):
                flags |= features.VFIO_DEVICE_FEATURE_PROBE
        argsz = case.random.choice((8, 12, 16, 24, 64, _number(case.random)))
        data = bytes(case.random.choice((0, 4, 8, 56)))
        _try(case, Call.FEATURE, features.DEVICE_FEATURE.pack(argsz, number | flags) + data)
    _unchanged(case, before)


@test("pci", cites=_HEADER)
def random_config_reads_give_what_was_asked(case: Case) -> None:
    """Reads of random places and sizes of configuration space give as many bytes as were asked for."""
    size = case.device.region_info(vfio.VFIO_PCI_CONFIG_REGION_INDEX).size
    for _ in range(_ROUNDS):
        offset = case.random.randrange(size)
        count = case.random.randint(1, min(size - offset, 64))
        data = case.device.read(vfio.VFIO_PCI_CONFIG_REGION_INDEX, offset, count)
        case.expect(len(data) == count, f"a read of {count} bytes at {offset:#x} gave {len(data)}")


@test(cites=_HEADER)
def random_reads_past_the_end_of_regions_are_refused(case: Case) -> None:
    """Reads that begin past the end of a region give nothing, however far and long."""
    before = _described(case)
    regions = [region for region in places.regions(case.device) if region.flags & vfio.VFIO_REGION_INFO_FLAG_READ]
    for _ in range(_ROUNDS):
        region = case.random.choice(regions)
        offset = region.size + 1 + case.random.getrandbits(case.random.randint(1, 38))
        size = case.random.choice((1, 2, 3, 4, 8, 64, 4096))
        data = b""
        with case.may_be_refused():
            data = case.device.read(region.index, offset, size)
        case.expect(not data, f"region {region.index} of {region.size:#x} bytes gave {len(data)} at {offset:#x}")
    _unchanged(case, before)


def _number(random: Random) -> int:
    return random.choice((random.choice(_EDGES), random.getrandbits(8), random.getrandbits(32)))


def _try(case: Case, call: Call, structure: bytes, descriptors: list[int] | tuple[int, ...] = ()) -> None:
    with case.may_be_refused():
        case.device.call(call, structure, descriptors)


def _described(case: Case) -> tuple[object, ...]:
    return case.device.info(), places.regions(case.device), irqs_of(case.device)


def _unchanged(case: Case, before: tuple[object, ...]) -> None:
    after = _described(case)
    case.expect(after == before, f"before {before}, after {after}")
