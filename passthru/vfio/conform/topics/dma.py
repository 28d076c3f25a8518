# SPDX-License-Identifier: GPL-2.0-or-later
"""Mapping memory for the device and taking it away, by VFIO_IOMMU_*_DMA, IOMMU_IOAS_* and VFIO_USER_DMA_*.

The three refuse the same with different words: what differs is told beside each test. Kernels before 6.19 answer a
range that wraps around with EINVAL, as type1 always had; later ones with EOVERFLOW, as iommufd always did.
"""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.iova import free, gaps, page_of
from passthru.vfio.conform.registry import test
from passthru.vfio.kernel.memory import address_of

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_MAP = "VFIO_IOMMU_MAP_DMA in <linux/vfio.h>; IOMMU_IOAS_MAP in <linux/iommufd.h>; VFIO_USER_DMA_MAP of vfio-user.rst"
_UNMAP = "VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP; VFIO_USER_DMA_UNMAP: must match exactly a previous mapping"
_TYPE1_MAP = "VFIO_IOMMU_MAP_DMA: struct vfio_iommu_type1_dma_map in <linux/vfio.h>"
_TYPE1_UNMAP = "VFIO_IOMMU_UNMAP_DMA: struct vfio_iommu_type1_dma_unmap in <linux/vfio.h>"

_READ, _WRITE = iommu.VFIO_DMA_MAP_FLAG_READ, iommu.VFIO_DMA_MAP_FLAG_WRITE
_VADDR = iommu.VFIO_DMA_MAP_FLAG_VADDR
_ALL = iommu.VFIO_DMA_UNMAP_FLAG_ALL
_TOP = 1 << 64


def _wraps(case: Case) -> tuple[int, ...]:
    """How a range is refused that wraps around the end of all addresses."""
    if case.facts.transport == "vfio-user":
        return ()
    if case.facts.container == "iommufd":
        return (errno.EOVERFLOW,)
    if case.facts.version < (6, 12):
        return (errno.EINVAL,)
    return (errno.EOVERFLOW,) if case.facts.version >= (6, 19) else (errno.EINVAL, errno.EOVERFLOW)  # stable kernels


def _invalid(case: Case) -> tuple[int, ...]:
    """EINVAL, where the document says which errno it is."""
    return () if case.facts.transport == "vfio-user" else (errno.EINVAL,)


@test("dma", cites=_MAP)
def memory_is_mapped_and_unmapped(case: Case) -> None:
    """What was mapped is unmapped whole, and can be mapped again; with either permission, and both."""
    page = page_of(case)
    iova, memory = free(case, 16 * page), case.buffer(16 * page)
    for pages in (1, 2, 16):
        for flags in (_READ | _WRITE, _READ, _WRITE):
            case.dma.map(iova, pages * page, memory.descriptor, 0, flags)
            _unmapped(case, iova, pages * page)


@test("dma", cites=_MAP)
def parts_of_memory_are_mapped_next_to_each_other(case: Case) -> None:
    """Mappings that touch are no overlap, and the memory may be mapped at several addresses."""
    page = page_of(case)
    iova, memory = free(case, 8 * page), case.buffer(4 * page)
    for number in (3, 1, 0, 2, 7, 4):
        case.dma.map(iova + number * page, page, memory.descriptor, number % 4 * page)
    for number in (0, 4, 2, 7, 3, 1):
        _unmapped(case, iova + number * page, page)


@test("dma", cites=f"{_MAP}; EEXIST by all three")
def what_is_mapped_is_not_mapped_over(case: Case) -> None:
    """Mapping over what is mapped, all of it or part, is refused with EEXIST, and the old mapping stays."""
    page = page_of(case)
    iova, memory = free(case, 8 * page), case.buffer(8 * page)
    case.dma.map(iova + 2 * page, 2 * page, memory.descriptor)
    for first, pages in ((2, 2), (2, 1), (3, 1), (1, 2), (3, 2), (0, 8)):
        with case.refused(errno.EEXIST, what=f"mapping pages {first} to {first + pages - 1} over pages 2 and 3"):
            case.dma.map(iova + first * page, pages * page, memory.descriptor)
    _unmapped(case, iova + 2 * page, 2 * page)
    case.dma.map(iova, 8 * page, memory.descriptor)


@test("dma", cites=f"{_MAP}; EINVAL by the kernel")
def nothing_is_not_mapped(case: Case) -> None:
    """A mapping of no bytes is refused, and so is taking no bytes away."""
    iova, memory = free(case, page_of(case)), case.buffer(page_of(case))
    with case.refused(*_invalid(case), what="mapping 0 bytes"):
        case.dma.map(iova, 0, memory.descriptor)
    with case.refused(*_invalid(case), what="unmapping 0 bytes"):
        case.dma.unmap(iova, 0)


@test("kernel", "dma", cites=f"{_MAP}; iova_pgsizes, out_iova_alignment")
def what_is_mapped_is_whole_pages(case: Case) -> None:
    """An address or a size that is no multiple of the smallest page is refused with EINVAL."""
    sizes = case.dma.info().page_sizes
    page, iova = page_of(case), free(case, 4 * page_of(case))
    if sizes & -sizes < page:
        case.missing("the device has no need of whole pages")
    memory = case.buffer(4 * page)
    for at, size in ((iova + 1, page), (iova, page + 1), (iova + page // 2, page), (iova, page - 1)):
        with case.refused(errno.EINVAL, what=f"mapping {size:#x} bytes at {at:#x}"):
            case.dma.map(at, size, memory.descriptor)
    with case.refused(errno.EINVAL, what="mapping memory from the middle of a page"):
        case.dma.map(iova, page, memory.descriptor, page // 2)


@test("type1", cites=f"{_TYPE1_UNMAP}; iova_pgsizes")
def what_is_unmapped_is_whole_pages(case: Case) -> None:
    """Unmapping from the middle of a page, or part of one, is refused with EINVAL, and nothing is unmapped."""
    page = page_of(case)
    iova, memory = free(case, 2 * page), case.buffer(2 * page)
    case.dma.map(iova, 2 * page, memory.descriptor)
    for at, size in ((iova + 1, page), (iova, page + 1), (iova, page - 1)):
        with case.refused(errno.EINVAL, what=f"unmapping {size:#x} bytes at {at:#x}"):
            case.dma.unmap(at, size)
    _unmapped(case, iova, 2 * page)


@test("dma", cites=f"{_MAP}; type1: EINVAL before Linux 6.19, EOVERFLOW since; iommufd: EOVERFLOW")
def addresses_do_not_wrap_around(case: Case) -> None:
    """A range that reaches over the end of all addresses is neither mapped nor unmapped."""
    page = page_of(case)
    memory = case.buffer(2 * page)
    with case.refused(*_wraps(case), what="mapping two pages, of which one is behind the last address"):
        case.dma.map(_TOP - page, 2 * page, memory.descriptor)
    with case.refused(*_wraps(case), what="unmapping two pages, of which one is behind the last address"):
        case.dma.unmap(_TOP - page, 2 * page)


@test("kernel", "dma", cites=f"{_MAP}; the reserved regions of the IOMMU (VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)")
def addresses_outside_of_the_ranges_are_not_mapped(case: Case) -> None:
    """Between the ranges that can be mapped, as where messages of interrupts go, mapping is refused with EINVAL."""
    page = page_of(case)
    memory = case.buffer(2 * page)
    outside = list(gaps(case))
    if not outside:
        case.missing("all addresses can be mapped")
    for start in outside:
        for first, size in ((start, page), (start - page, 2 * page)):
            with case.refused(errno.EINVAL, what=f"mapping {size:#x} bytes at {first:#x}, outside of the ranges"):
                case.dma.map(first, size, memory.descriptor)


@test("kernel", "dma", cites=f"{_MAP}; EINVAL, which iommufd says since Linux 6.11")
def memory_without_a_permission_is_not_mapped(case: Case) -> None:
    """A mapping that can be neither read nor written is refused with EINVAL."""
    if case.facts.container == "iommufd" and case.facts.version < (6, 11):
        case.missing("iommufd before Linux 6.11 takes a mapping that nobody can use")
    iova, memory = free(case, page_of(case)), case.buffer(page_of(case))
    with case.refused(errno.EINVAL, what="mapping without READ and WRITE"):
        case.dma.map(iova, page_of(case), memory.descriptor, 0, 0)


@test("dma", cites=f"{_MAP}; flags: EINVAL by type1, EOPNOTSUPP by iommufd")
def unknown_flags_of_a_mapping_are_refused(case: Case) -> None:
    """A flag that nobody knows is refused, and nothing is mapped."""
    page = page_of(case)
    iova, memory = free(case, page), case.buffer(page)
    codes = (errno.EOPNOTSUPP,) if case.facts.container == "iommufd" else _invalid(case)
    for bit in (4, 8, 20) if case.facts.container == "iommufd" else (4, 8, 31):
        with case.refused(*codes, what=f"mapping with the flag 1 << {bit}"):
            case.dma.map(iova, page, memory.descriptor, 0, _READ | _WRITE | 1 << bit)
    case.dma.map(iova, page, memory.descriptor)


@test("type1", cites="VFIO_DMA_MAP_FLAG_EXEC of the platform letter (2014); VFIO_DMA_MAP_FLAG_VADDR in <linux/vfio.h>")
def the_letters_flag_for_execution_is_refused(case: Case) -> None:
    """Bit 2, EXEC in the platform letter, makes no memory executable: EINVAL with READ or WRITE, by every kernel.

    The letter's flag and its extension VFIO_IOMMU_PROT_EXEC never entered the kernel. Bit 2 was unknown until Linux
    5.12 and is VADDR since, which renews the address of a mapping and goes with no permission.
    """
    page = page_of(case)
    iova, memory = free(case, page), case.buffer(page)
    for flags in (_READ, _WRITE, _READ | _WRITE):
        with case.refused(errno.EINVAL, what=f"mapping with the flags {flags | _VADDR:#x}"):
            case.dma.map(iova, page, memory.descriptor, 0, flags | _VADDR)
    with case.refused(errno.ENOENT, what="renewing the address of a mapping that is not there"):
        case.dma.map(iova, page, memory.descriptor, 0, _VADDR)
    case.dma.map(iova, page, memory.descriptor)
    with case.refused(errno.EINVAL, what="renewing the address of a mapping that has one"):
        case.dma.map(iova, page, memory.descriptor, 0, _VADDR)


@test("type1", cites="VFIO_UPDATE_VADDR, VFIO_DMA_UNMAP_FLAG_VADDR, VFIO_DMA_MAP_FLAG_VADDR in <linux/vfio.h>")
def the_address_of_a_mapping_is_renewed(case: Case) -> None:
    """Where the extension is offered, a mapping gives its address up and gets another, and stays mapped meanwhile."""
    container, page = ways.container_of(case), page_of(case)
    if not container.check_extension(vfio.VFIO_UPDATE_VADDR):
        case.missing("the container does not offer VFIO_UPDATE_VADDR")
    iova, memory = free(case, 2 * page), case.buffer(2 * page)
    case.dma.map(iova, page, memory.descriptor)
    unmapped = case.dma.unmap(iova, page, iommu.VFIO_DMA_UNMAP_FLAG_VADDR)
    case.expect(unmapped == page, f"the addresses of {unmapped:#x} bytes were given up, of {page:#x}")
    with case.refused(errno.EINVAL, what="giving the address up a second time"):
        case.dma.unmap(iova, page, iommu.VFIO_DMA_UNMAP_FLAG_VADDR)
    with case.refused(errno.EEXIST, what="mapping what gave its address up"):
        case.dma.map(iova, page, memory.descriptor)
    with address_of(memory.memory) as address:
        with case.refused(errno.EINVAL, what="renewing the address of more than the mapping"):
            container.map(iova, 2 * page, address, _VADDR)
        container.map(iova, page, address, _VADDR)
        _unmapped(case, iova, page)


@test("type1", cites=f"{_TYPE1_MAP}; {_TYPE1_UNMAP}: argsz")
def dma_calls_need_room(case: Case) -> None:
    """Too short an argsz is refused with EINVAL."""
    container, page = ways.container_of(case), page_of(case)
    iova = free(case, page)
    memory = case.buffer(page)
    with address_of(memory.memory) as address:
        for argsz in (0, iommu.IOMMU_MAP.size - 1):
            with case.refused(errno.EINVAL, what=f"VFIO_IOMMU_MAP_DMA with argsz {argsz}"):
                container.map_raw(iommu.IOMMU_MAP.pack(argsz, _READ, address, iova, page))
    for argsz in (0, iommu.IOMMU_UNMAP.size - 1):
        with case.refused(errno.EINVAL, what=f"VFIO_IOMMU_UNMAP_DMA with argsz {argsz}"):
            container.unmap_raw(iommu.IOMMU_UNMAP.pack(argsz, 0, iova, page))


@test("kernel", "dma", cites=f"{_MAP}; EFAULT: pages are pinned when they are mapped")
def memory_that_is_not_there_is_not_mapped(case: Case) -> None:
    """Addresses of this process without memory behind them are refused with EFAULT, and nothing stays mapped.

    A mediated device has its pages looked up when it uses them; there such a mapping is taken.
    """
    if not ways.is_translated(case):
        case.missing("pages of a mediated device are pinned when it uses them")
    page = page_of(case)
    iova, memory = free(case, 2 * page), case.buffer(2 * page)
    hole = mmap.mmap(-1, 2 * page)
    with address_of(hole) as address:
        pass
    hole.close()
    with case.refused(errno.EFAULT, what="mapping two pages that are not in this process"):
        _map_address(case, iova, 2 * page, address)
    case.dma.map(iova, 2 * page, memory.descriptor)


def _map_address(case: Case, iova: int, size: int, address: int) -> None:
    if case.facts.container == "iommufd":
        ioas = ways.ioas_of(case)
        ioas.iommufd.map(ioas.ioas, size, address, iova, 0x6)  # IOMMU_IOAS_MAP_WRITEABLE, _READABLE
    else:
        ways.container_of(case).map(iova, size, address, _READ | _WRITE)


@test("dma", cites=f"{_UNMAP}; EINVAL by type1v2, ENOENT by iommufd; type1 of old takes all or nothing and tells")
def part_of_a_mapping_is_not_unmapped(case: Case) -> None:
    """Unmapping part of a mapping is refused, and it stays whole.

    type1 of the first version has its own rule: part from the first byte on takes the whole mapping away, part behind
    it takes nothing, and neither is refused.
    """
    page = page_of(case)
    iova, memory = free(case, 6 * page), case.buffer(4 * page)
    case.dma.map(iova, 4 * page, memory.descriptor)
    parts = ((1, 1), (1, 2), (3, 1), (0, 1), (2, 4))
    if case.facts.container == "type1":
        for first, pages in ((1, 1), (3, 1), (2, 4)):
            unmapped = case.dma.unmap(iova + first * page, pages * page)
            case.expect(not unmapped, f"unmapping a part behind the first byte took {unmapped:#x} bytes away")
        unmapped = case.dma.unmap(iova, page)
        case.expect(unmapped == 4 * page, f"unmapping the first page took {unmapped:#x} bytes away, not all")
        return
    codes = {"type1v2": (errno.EINVAL,), "iommufd": (errno.ENOENT,)}.get(case.facts.container, ())
    for first, pages in parts:
        with case.refused(*codes, what=f"unmapping {pages} pages from page {first} of a mapping of 4"):
            case.dma.unmap(iova + first * page, pages * page)
    _unmapped(case, iova, 4 * page)


@test("kernel", "dma", cites=_UNMAP)
def several_mappings_are_unmapped_at_once(case: Case) -> None:
    """A range that holds mappings whole, and gaps between them, takes all of them away and tells how many bytes."""
    page = page_of(case)
    iova, memory = free(case, 8 * page), case.buffer(8 * page)
    for first, pages in ((0, 1), (2, 2), (7, 1)):
        case.dma.map(iova + first * page, pages * page, memory.descriptor)
    unmapped = case.dma.unmap(iova, 8 * page)
    case.expect(unmapped == 4 * page, f"{unmapped:#x} bytes were unmapped, and 4 pages of {page:#x} were mapped")
    case.dma.map(iova, 8 * page, memory.descriptor)


@test("dma", cites=f"{_UNMAP}; iommufd said ENOENT, and says 0 bytes in newer kernels; over vfio-user it is refused")
def what_is_not_mapped_is_not_unmapped(case: Case) -> None:
    """Where nothing is mapped, nothing is unmapped: 0 bytes, or a refusal."""
    page = page_of(case)
    iova = free(case, 2 * page)
    if case.facts.transport == "vfio-user":
        with case.refused(what="unmapping what is not mapped"):
            case.dma.unmap(iova, page)
        return
    try:
        unmapped = case.dma.unmap(iova, page)
    except OSError as error:
        if error.errno != errno.ENOENT or case.facts.container != "iommufd":
            raise
        unmapped = 0
    case.expect(not unmapped, f"{unmapped:#x} bytes were unmapped where nothing was mapped")


@test("type1", cites="VFIO_UNMAP_ALL: VFIO_DMA_UNMAP_FLAG_ALL in <linux/vfio.h>, since Linux 5.12")
def everything_is_unmapped_at_once(case: Case) -> None:
    """VFIO_DMA_UNMAP_FLAG_ALL takes every mapping away and tells the sum; with an address or a size it is EINVAL."""
    page = page_of(case)
    iova, memory = free(case, 8 * page), case.buffer(8 * page)
    for number in (0, 3, 5):
        case.dma.map(iova + number * page, page, memory.descriptor)
    for address, size in ((iova, 0), (0, page), (iova, page)):
        with case.refused(errno.EINVAL, what=f"unmapping all with address {address:#x} and size {size:#x}"):
            case.dma.unmap(address, size, _ALL)
    unmapped = case.dma.unmap(0, 0, _ALL)
    case.expect(unmapped == 3 * page, f"{unmapped:#x} bytes were unmapped, and 3 pages of {page:#x} were mapped")
    case.expect(not case.dma.unmap(0, 0, _ALL), "something was left when all was unmapped")


@test("dma", cites=f"{_UNMAP}; flags: EINVAL by type1; iommufd has none")
def unknown_flags_of_unmapping_are_refused(case: Case) -> None:
    """A flag that nobody knows is refused, and nothing is unmapped."""
    if case.facts.container == "iommufd":
        case.missing("IOMMU_IOAS_UNMAP has no flags")
    page = page_of(case)
    iova, memory = free(case, page), case.buffer(page)
    case.dma.map(iova, page, memory.descriptor)
    for bit in (3, 8, 31):
        with case.refused(*_invalid(case), what=f"unmapping with the flag 1 << {bit}"):
            case.dma.unmap(iova, page, 1 << bit)
    _unmapped(case, iova, page)


@test("type1", cites="VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, _ALL, _VADDR in <linux/vfio.h>")
def flags_of_unmapping_that_exclude_each_other_are_refused(case: Case) -> None:
    """A bitmap of dirty pages goes neither with all mappings nor with their addresses: EINVAL."""
    for other in (_ALL, iommu.VFIO_DMA_UNMAP_FLAG_VADDR):
        flags = other | iommu.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        with case.refused(errno.EINVAL, what=f"unmapping with the flags {flags:#x}"):
            case.dma.unmap(0, 0, flags)


@test("dma", cites=f"{_MAP}; {_UNMAP}")
def random_mappings_are_remembered(case: Case) -> None:
    """Of random mappings and unmappings, exactly those are refused that overlap, or that were not mapped."""
    page, pages = page_of(case), 12
    iova, memory = free(case, pages * page), case.buffer(pages * page)
    mapped: dict[int, int] = {}
    for _ in range(150):
        first = case.random.randrange(pages)
        count = case.random.randint(1, min(4, pages - first))
        if case.random.random() < 0.5:
            overlaps = any(at < first + count and first < at + size for at, size in mapped.items())
            if overlaps:
                with case.refused(errno.EEXIST, what=f"mapping pages {first} to {first + count - 1} of {mapped}"):
                    case.dma.map(iova + first * page, count * page, memory.descriptor, first * page)
            else:
                case.dma.map(iova + first * page, count * page, memory.descriptor, first * page)
                mapped[first] = count
        elif mapped:
            first = case.random.choice(list(mapped))
            _unmapped(case, iova + first * page, mapped.pop(first) * page)


def _unmapped(case: Case, iova: int, size: int) -> None:
    """Unmap what was mapped whole."""
    unmapped = case.dma.unmap(iova, size)
    case.expect(unmapped == size, f"{unmapped:#x} bytes were unmapped of {size:#x} at {iova:#x}")
