# SPDX-License-Identifier: GPL-2.0-or-later
"""Places in a device's regions that tests can look at: where reading has no effect, what keeps what is written."""

from __future__ import annotations

import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.capabilities import LOST, MOST_INDEXES
from passthru.vfio.info_capabilities import SparseMmap
from passthru.vfio.stubs.stub import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import RegionInfo, VfioDevice

MTTY = (0x4348, 0x3253)
_PREFETCHABLE = 0x8  # PCI_BASE_ADDRESS_MEM_PREFETCH
_IO = 0x1  # PCI_BASE_ADDRESS_SPACE_IO
_MOST_UNITS = 64  # of a part that are looked at, each an access
_HEADER = (Part(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 0, 4, 4), Part(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 8, 4, 4))


def regions(device: VfioDevice) -> list[RegionInfo]:
    """Every region that the device tells of."""
    found = []
    for index in range(min(device.info().num_regions, MOST_INDEXES)):
        try:
            found.append(device.region_info(index))
        except LOST:
            raise
        except OSError:  # vfio-pci: the VGA region of a device without VGA
            continue
    return found


def mappable(device: VfioDevice) -> list[RegionInfo]:
    """The regions of which something can be mapped."""
    return [each for each in regions(device) if each.size and each.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP]


def areas(region: RegionInfo) -> tuple[tuple[int, int], ...]:
    """Which parts of a region with VFIO_REGION_INFO_FLAG_MMAP can be mapped: (offset, size)."""
    for capability in region.capabilities:
        if isinstance(capability, SparseMmap):
            return capability.areas
    return ((0, -(-region.size // mmap.PAGESIZE) * mmap.PAGESIZE),)


def quiet(case: Case) -> list[Part]:
    """What can be read without an effect.

    By the PCI specification that is a function's configuration header (but for command and status), its ROM, and its
    prefetchable BARs; the rest is what its stub says.
    """
    parts = _shortened(case.stub.readable + case.stub.scratch) if "stub" in case.facts.capabilities else []
    if "pci" not in case.facts.capabilities:
        return parts
    parts += _HEADER
    size = case.device.region_info(vfio.VFIO_PCI_CONFIG_REGION_INDEX).size
    parts.append(Part(vfio.VFIO_PCI_CONFIG_REGION_INDEX, size - 1, 1, 1))
    for index in prefetchable(case.device):
        region = case.device.region_info(index)
        if region.size and region.flags & vfio.VFIO_REGION_INFO_FLAG_READ:
            parts += _shortened([Part(index, 0, region.size, 4)])
    return parts


def prefetchable(device: VfioDevice) -> Iterator[int]:
    """The BARs of a PCI function whose reading has no effect."""
    index = 0
    while index <= vfio.VFIO_PCI_BAR5_REGION_INDEX:
        low = device.read(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 0x10 + 4 * index, 1)[0]
        if not low & _IO and low & _PREFETCHABLE:
            yield index
        index += 2 if not low & _IO and low & 0x6 == 0x4 else 1


def scratch(case: Case) -> list[Part]:
    """What keeps what is written, by the device's stub."""
    return _shortened(case.stub.scratch)


def _shortened(parts: Iterable[Part]) -> list[Part]:
    """The first and the last units of long parts."""
    found = []
    for part in parts:
        size = min(part.size, _MOST_UNITS * part.width)
        found.append(Part(part.region, part.offset, size, part.width))
        if size < part.size:
            found.append(Part(part.region, part.offset + part.size - size, size, part.width))
    return found


def is_mtty_config(case: Case, region: int) -> bool:
    """Whether a region is mtty's configuration space, which has a byte more than its constant 255 says."""
    identity = case.facts.identity
    return (identity.vendor, identity.device) == MTTY and region == vfio.VFIO_PCI_CONFIG_REGION_INDEX


def read(device: VfioDevice, part: Part) -> bytes:
    """The bytes of a part, in accesses of its width."""
    return b"".join(
        device.read(part.region, at, part.width) for at in range(part.offset, part.offset + part.size, part.width)
    )


def write(case: Case, part: Part, data: bytes) -> None:
    """Write a whole part in accesses of its width; each must be taken whole."""
    for at in range(0, part.size, part.width):
        unit = data[at : at + part.width]
        taken = case.device.write(part.region, part.offset + at, unit)
        case.expect(
            taken == len(unit), f"region {part.region} took {taken} of {len(unit)} bytes at {part.offset + at:#x}"
        )


@contextmanager
def restored(device: VfioDevice, part: Part) -> Iterator[None]:
    """Write back in the end what a part held before."""
    before = read(device, part)
    try:
        yield
    finally:
        for at in range(0, part.size, part.width):
            device.write(part.region, part.offset + at, before[at : at + part.width])


def mapped_parts(case: Case, parts: Iterable[Part]) -> Iterator[tuple[Part, mmap.mmap, int]]:
    """The parts that can be mapped, each with a mapping of the area it is in and its offset in there."""
    by_index = {region.index: region for region in mappable(case.device)}
    made: dict[tuple[int, int], mmap.mmap] = {}
    for part in parts:
        if part.region not in by_index or part.width not in _CODES:
            continue
        for offset, size in areas(by_index[part.region]):
            if offset <= part.offset and part.offset + part.size <= offset + size:
                key = (part.region, offset)
                if key not in made:
                    made[key] = case.map(case.device, part.region, offset, size)
                yield part, made[key], part.offset - offset


_CODES: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


def peek(case: Case, mapped: mmap.mmap, at: int, size: int, width: int) -> bytes:
    """Bytes of a mapping, loaded in units of ``width`` as registers want it. Raises Failed where a page is not there.

    A page that is not there would end this process by SIGBUS; the kernel, which looks first, says EFAULT instead.
    """
    reader, writer = os.pipe()
    try:
        with memoryview(mapped) as view, view[at : at + width] as first:
            os.write(writer, first)
    except OSError as error:
        case.fail(f"the mapping cannot be read at {at:#x}: {error.strerror}")
    finally:
        os.close(reader)
        os.close(writer)
    with memoryview(mapped) as view, view[at : at + size] as part, part.cast(_CODES[width]) as units:
        return b"".join(unit.to_bytes(width, "little") for unit in units)


def poke(mapped: mmap.mmap, at: int, data: bytes, width: int) -> None:
    """Store bytes in a mapping in units of ``width``."""
    with memoryview(mapped) as view, view[at : at + len(data)] as part, part.cast(_CODES[width]) as units:
        for number in range(len(units)):
            units[number] = int.from_bytes(data[number * width : (number + 1) * width], "little")
