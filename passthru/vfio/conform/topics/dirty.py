# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages a device may have written: VFIO_IOMMU_DIRTY_PAGES, and what an iommufd has for it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd as iommufd
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.iova import free, page_of
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.kernel.container import Container


@test("type1", "dirty", cites="VFIO_IOMMU_DIRTY_PAGES in <linux/vfio.h>; EACCES by type1 of the first version")
def dirty_pages_are_tracked(case: Case) -> None:
    """Between START and STOP the pages that a device may have written are told: all that it can reach by an IOMMU.

    A mediated device has those told that it pinned, and mtty pins none. Before START, and after STOP, it is EINVAL.
    """
    container, page = _tracking(case)
    iova, memory = free(case, 8 * page), case.buffer(8 * page)
    case.dma.map(iova, 8 * page, memory.descriptor)
    with case.refused(errno.EINVAL, what="VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP before START"):
        container.dirty_bitmap(iova, 8 * page, page)
    container.track_dirty(on=True)
    case.keep(lambda: container.track_dirty(on=False))
    container.track_dirty(on=True)  # again changes nothing
    dirty = int.from_bytes(container.dirty_bitmap(iova, 8 * page, page), "little")
    wanted = 0xFF if ways.is_translated(case) else 0
    case.expect(dirty == wanted, f"of 8 pages those of {dirty:#x} are dirty, and not {wanted:#x}")
    unmapped, bitmap = container.unmap_with_bitmap(iova, 8 * page, page)
    dirty = int.from_bytes(bitmap, "little")
    case.expect(
        (unmapped, dirty) == (8 * page, wanted), f"{unmapped:#x} bytes were unmapped, of which {dirty:#x} were dirty"
    )
    container.track_dirty(on=False)
    with case.refused(errno.EINVAL, what="VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP after STOP"):
        container.dirty_bitmap(iova, 8 * page, page)


@test("type1", "dirty", cites="VFIO_IOMMU_DIRTY_PAGES: struct vfio_iommu_type1_dirty_bitmap in <linux/vfio.h>")
def what_is_wrong_with_dirty_pages_is_refused(case: Case) -> None:
    """Too short an argsz, unknown and several flags, another page size, part of a mapping: EINVAL."""
    container, page = _tracking(case)
    iova, memory = free(case, 8 * page), case.buffer(8 * page)
    case.dma.map(iova, 8 * page, memory.descriptor)
    container.track_dirty(on=True)
    case.keep(lambda: container.track_dirty(on=False))
    start, stop = iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_START, iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
    wrong = ((7, start), (8, start | stop), (8, 1 << 3), (8, iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP))
    for argsz, flags in wrong:
        with case.refused(errno.EINVAL, what=f"VFIO_IOMMU_DIRTY_PAGES with argsz {argsz} and the flags {flags:#x}"):
            container.dirty_pages_raw(iommu.DIRTY_PAGES.pack(argsz, flags))
    for at, size, unit in ((iova, 8 * page, 2 * page), (iova + 1, page, page), (iova + page, page, page)):
        with case.refused(errno.EINVAL, what=f"the dirty pages of {unit:#x} bytes of {size:#x} bytes at {at:#x}"):
            container.dirty_bitmap(at, size, unit)


def _tracking(case: Case) -> tuple[Container, int]:
    """The container, where it tracks dirty pages, and the size that it does so by."""
    container = ways.container_of(case)
    if case.facts.container == "type1":
        with case.refused(errno.EACCES, what="VFIO_IOMMU_DIRTY_PAGES by type1 of the first version"):
            container.track_dirty(on=True)
        case.missing("type1 of the first version tracks no dirty pages")
    return container, page_of(case)


@test("iommufd", cites="IOMMU_HWPT_ALLOC: IOMMU_HWPT_ALLOC_DIRTY_TRACKING in <linux/iommufd.h>", fresh=True)
def dirty_tracking_is_had_where_the_iommu_has_it(case: Case) -> None:
    """A page table that tracks dirty pages is made where the IOMMU can do so, and refused with EOPNOTSUPP elsewhere."""
    if not ways.is_translated(case):
        case.missing("a mediated device has no page table")
    opened = ways.target_of(case).open_file()
    case.keep(opened.close)
    able = opened.iommufd.hardware_info(opened.device_id).capabilities & iommufd.IOMMU_HW_CAP_DIRTY_TRACKING
    asked = iommufd.HWPT_ALLOC.pack(
        iommufd.HWPT_ALLOC.size,
        iommufd.IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
        opened.device_id,
        opened.dma.ioas,
        *(0, 0, iommufd.IOMMU_HWPT_DATA_NONE, 0, 0, 0, 0),
    )
    if able:
        answer = opened.iommufd.descriptor.structure("IOMMU_HWPT_ALLOC", iommufd.IOMMU_HWPT_ALLOC, asked)
        table = iommufd.HWPT_ALLOC.unpack(answer)[4]
        for on in (iommufd.IOMMU_HWPT_DIRTY_TRACKING_ENABLE, 0):
            change = iommufd.HWPT_SET_DIRTY_TRACKING.pack(iommufd.HWPT_SET_DIRTY_TRACKING.size, on, table, 0)
            call = "IOMMU_HWPT_SET_DIRTY_TRACKING"
            opened.iommufd.descriptor.structure(call, iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING, change)
        return
    with case.refused(errno.EOPNOTSUPP, what="a page table that tracks dirty pages, which the IOMMU cannot"):
        opened.iommufd.descriptor.structure("IOMMU_HWPT_ALLOC", iommufd.IOMMU_HWPT_ALLOC, asked)
