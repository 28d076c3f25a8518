# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of the IOMMU: page sizes, the addresses that can be mapped, how many mappings are left."""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.iova import free, page_of
from passthru.vfio.conform.registry import test
from passthru.vfio.info_capabilities import DirtyTracking, DmaAvailable, IovaRanges, UnknownCapability

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_INFO = "VFIO_IOMMU_GET_INFO: struct vfio_iommu_type1_info in <linux/vfio.h>"
_RANGES = "VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, IOMMU_IOAS_IOVA_RANGES; reserved_regions of the group in sysfs"
_SHORTEST = iommu.IOMMU_INFO.size


@test("type1", cites=f"{_INFO}: VFIO_IOMMU_INFO_PGSIZES")
def page_sizes_are_told(case: Case) -> None:
    """The sizes that can be mapped are told, and the processor's page is among them."""
    info = ways.container_of(case).iommu_info()
    case.expect(info.flags & iommu.VFIO_IOMMU_INFO_PGSIZES, f"the flags are {info.flags:#x}, without PGSIZES")
    case.expect(info.page_sizes & mmap.PAGESIZE, f"the page sizes {info.page_sizes:#x} have no {mmap.PAGESIZE:#x}")
    known = iommu.VFIO_IOMMU_INFO_PGSIZES | iommu.VFIO_IOMMU_INFO_CAPS
    case.expect(not info.flags & ~known, f"the flags {info.flags:#x} are not all known")


@test("type1", cites=f"{_INFO}: argsz, cap_offset")
def iommu_info_asks_for_room(case: Case) -> None:
    """Too short an argsz is refused with EINVAL; one too short for the chain has it told, and the chain left out."""
    descriptor = ways.container_of(case).descriptor
    with case.refused(errno.EINVAL, what=f"VFIO_IOMMU_GET_INFO with argsz {_SHORTEST - 1}"):
        asked = iommu.IOMMU_INFO.pack(_SHORTEST - 1, 0, 0)
        descriptor.structure("VFIO_IOMMU_GET_INFO", iommu.VFIO_IOMMU_GET_INFO, asked)
    for room in (_SHORTEST, _SHORTEST + iommu.IOMMU_INFO_CAPS.size):
        asked = iommu.IOMMU_INFO.pack(room, 0, 0).ljust(room, b"\0")
        answer = descriptor.structure("VFIO_IOMMU_GET_INFO", iommu.VFIO_IOMMU_GET_INFO, asked)
        argsz, flags, _ = iommu.IOMMU_INFO.unpack_from(answer)
        case.expect(flags & iommu.VFIO_IOMMU_INFO_CAPS, f"with argsz {room} the flags are {flags:#x}, without CAPS")
        case.expect(argsz > room, f"argsz came back as {argsz} of {room}, although the chain needs more")
        chain = int.from_bytes(answer[_SHORTEST : _SHORTEST + 4], "little")
        case.expect(not chain, f"without room the chain is said to be at {chain:#x}")


@test("type1", cites=f"{_INFO}: struct vfio_info_cap_header, VFIO_IOMMU_TYPE1_INFO_*")
def iommu_capabilities_are_told_once(case: Case) -> None:
    """Dirty tracking and the mappings left are told, addresses where there is an IOMMU; each once, each known."""
    kinds = [type(each) for each in ways.container_of(case).iommu_info().capabilities]
    case.expect(len(set(kinds)) == len(kinds), f"a capability comes more than once: {_names(kinds)}")
    case.expect(UnknownCapability not in kinds, f"a capability is not known: {_names(kinds)}")
    for kind in (DirtyTracking, DmaAvailable):
        case.expect(kind in kinds, f"there is no {kind.__name__} among {_names(kinds)}")
    told = IovaRanges in kinds
    case.expect(told == ways.is_translated(case), f"that the addresses are told is {told}: {_names(kinds)}")


def _names(kinds: list[type]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


@test("kernel", "dma", cites=_RANGES)
def iova_ranges_are_in_order(case: Case) -> None:
    """Ranges of addresses are whole pages, in order, and apart."""
    page, end = page_of(case), -1
    for first, last in _ranges(case):
        case.expect(first > end, f"the range {first:#x}-{last:#x} is not behind {end:#x}")
        case.expect(last > first, f"the range {first:#x}-{last:#x} ends before it begins")
        case.expect(
            not first % page and not (last + 1) % page, f"the range {first:#x}-{last:#x} is not of pages of {page:#x}"
        )
        end = last + 1  # adjacent ranges would be one


@test("kernel", "dma", cites=_RANGES)
def iova_ranges_leave_reserved_regions_out(case: Case) -> None:
    """No address that is reserved (for messages of interrupts, for firmware) can be mapped."""
    reserved = ways.reserved_regions(case) if ways.is_translated(case) else []
    if not reserved:
        case.missing("no addresses are reserved for this device")
    for first, last in _ranges(case):
        for start, end in reserved:
            case.expect(
                last < start or end < first, f"{first:#x}-{last:#x} reaches into the reserved {start:#x}-{end:#x}"
            )


def _ranges(case: Case) -> tuple[tuple[int, int], ...]:
    return case.dma.info().iova_ranges or case.missing("no ranges of addresses are told")


@test("type1", cites="VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL in <linux/vfio.h>")
def mappings_left_are_counted(case: Case) -> None:
    """Each mapping takes one from the number of those left, and gives it back; what is refused takes none."""
    page = page_of(case)
    iova, memory = free(case, 4 * page), case.buffer(page)
    before = case.dma.info().available
    if before is None:
        case.missing("the number of mappings left is not told")
    for number in range(3):
        case.dma.map(iova + number * page, page, memory.descriptor)
        _left(case, before - number - 1, f"after {number + 1} mappings")
    with case.refused(errno.EEXIST, what="mapping an address twice"):
        case.dma.map(iova, page, memory.descriptor)
    _left(case, before - 3, "after one that was refused")
    case.dma.unmap(iova, 3 * page)
    _left(case, before, "after all were unmapped")


def _left(case: Case, wanted: int, when: str) -> None:
    found = case.dma.info().available
    case.expect(found == wanted, f"{found} mappings are left {when}, and not {wanted}")
