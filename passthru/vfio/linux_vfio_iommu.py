# SPDX-License-Identifier: GPL-2.0-or-later
"""The type1 IOMMU in ``<linux/vfio.h>``: what a container can once SET_IOMMU chose it, under the kernel's own names.

vfio-user has the same flags in its DMA messages. Addresses and sizes are bytes.
"""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io
from passthru.vfio.linux_vfio import VFIO_BASE, VFIO_TYPE

VFIO_IOMMU_GET_INFO = io(VFIO_TYPE, VFIO_BASE + 12)
VFIO_IOMMU_MAP_DMA = io(VFIO_TYPE, VFIO_BASE + 13)
VFIO_IOMMU_UNMAP_DMA = io(VFIO_TYPE, VFIO_BASE + 14)
VFIO_IOMMU_ENABLE = io(VFIO_TYPE, VFIO_BASE + 15)
VFIO_IOMMU_DISABLE = io(VFIO_TYPE, VFIO_BASE + 16)
VFIO_IOMMU_DIRTY_PAGES = io(VFIO_TYPE, VFIO_BASE + 17)

# struct vfio_iommu_type1_info as it was first: argsz, flags, iova_pgsizes
IOMMU_INFO = Struct("<IIQ")
# what Linux 5.5 has behind it: cap_offset, padding
IOMMU_INFO_CAPS = Struct("<II")
VFIO_IOMMU_INFO_PGSIZES = 1 << 0
VFIO_IOMMU_INFO_CAPS = 1 << 1

VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1
VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2
VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3
# struct vfio_iommu_type1_info_cap_iova_range after its header: nr_iovas, reserved; then (first, last) for each range
IOVA_RANGES = Struct("<II")
IOVA_RANGE = Struct("<QQ")
# struct vfio_iommu_type1_info_cap_migration after its header: flags, padding, pgsize_bitmap, max_dirty_bitmap_size
MIGRATION = Struct("<I4xQQ")
# struct vfio_iommu_type1_info_dma_avail after its header: avail
DMA_AVAIL = Struct("<I")

# struct vfio_iommu_type1_dma_map: argsz, flags, vaddr, iova, size
IOMMU_MAP = Struct("<IIQQQ")
VFIO_DMA_MAP_FLAG_READ = 1 << 0
VFIO_DMA_MAP_FLAG_WRITE = 1 << 1
VFIO_DMA_MAP_FLAG_VADDR = 1 << 2

# struct vfio_iommu_type1_dma_unmap: argsz, flags, iova, size; then a BITMAP where the flags ask for it
IOMMU_UNMAP = Struct("<IIQQ")
VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1 << 0
VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1
VFIO_DMA_UNMAP_FLAG_VADDR = 1 << 2
# struct vfio_bitmap: pgsize, size of the bitmap, address of the bitmap
BITMAP = Struct("<QQQ")

# struct vfio_iommu_type1_dirty_bitmap: argsz, flags; then, to get it, iova, size and a BITMAP
DIRTY_PAGES = Struct("<II")
DIRTY_PAGES_RANGE = Struct("<QQ")
VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1 << 0
VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1 << 1
VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1 << 2
