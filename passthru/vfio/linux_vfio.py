# SPDX-License-Identifier: GPL-2.0-or-later
"""Constants and structures of ``<linux/vfio.h>``, under their own names.

The kernel's ioctls and the vfio-user messages carry the same structures, so both transports share this page. All
are little endian and packed; sizes and offsets are bytes.
"""

from __future__ import annotations

from struct import Struct

# struct vfio_device_info: argsz, flags, num_regions, num_irqs
DEVICE_INFO = Struct("<IIII")
VFIO_DEVICE_FLAGS_RESET = 1 << 0
VFIO_DEVICE_FLAGS_PCI = 1 << 1
VFIO_DEVICE_FLAGS_PLATFORM = 1 << 2
VFIO_DEVICE_FLAGS_AMBA = 1 << 3
VFIO_DEVICE_FLAGS_FSL_MC = 1 << 6

# struct vfio_region_info: argsz, flags, index, cap_offset, size, offset
REGION_INFO = Struct("<IIIIQQ")
VFIO_REGION_INFO_FLAG_READ = 1 << 0
VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
VFIO_REGION_INFO_FLAG_MMAP = 1 << 2
VFIO_REGION_INFO_FLAG_CAPS = 1 << 3

# struct vfio_info_cap_header: id, version, next (from the start of the info structure, 0 ends the chain)
INFO_CAP_HEADER = Struct("<HHI")
VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1
VFIO_REGION_INFO_CAP_TYPE = 2
# struct vfio_region_info_cap_sparse_mmap after its header: nr_areas, reserved; then (offset, size) for each area
SPARSE_MMAP = Struct("<II")
SPARSE_MMAP_AREA = Struct("<QQ")
# struct vfio_region_info_cap_type after its header: type, subtype
REGION_TYPE = Struct("<II")

# struct vfio_irq_info: argsz, flags, index, count
IRQ_INFO = Struct("<IIII")
VFIO_IRQ_INFO_EVENTFD = 1 << 0
VFIO_IRQ_INFO_MASKABLE = 1 << 1
VFIO_IRQ_INFO_AUTOMASKED = 1 << 2
VFIO_IRQ_INFO_NORESIZE = 1 << 3

# struct vfio_irq_set: argsz, flags, index, start, count; then data
IRQ_SET = Struct("<IIIII")
VFIO_IRQ_SET_DATA_NONE = 1 << 0
VFIO_IRQ_SET_DATA_BOOL = 1 << 1
VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2
VFIO_IRQ_SET_DATA_TYPE_MASK = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD
VFIO_IRQ_SET_ACTION_MASK = 1 << 3
VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4
VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5
VFIO_IRQ_SET_ACTION_TYPE_MASK = VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER

# Indices of a PCI device
VFIO_PCI_BAR0_REGION_INDEX = 0
VFIO_PCI_BAR5_REGION_INDEX = 5
VFIO_PCI_ROM_REGION_INDEX = 6
VFIO_PCI_CONFIG_REGION_INDEX = 7
VFIO_PCI_VGA_REGION_INDEX = 8
VFIO_PCI_NUM_REGIONS = 9
VFIO_PCI_INTX_IRQ_INDEX = 0
VFIO_PCI_MSI_IRQ_INDEX = 1
VFIO_PCI_MSIX_IRQ_INDEX = 2
VFIO_PCI_ERR_IRQ_INDEX = 3
VFIO_PCI_REQ_IRQ_INDEX = 4
VFIO_PCI_NUM_IRQS = 5

PCI_REGION_NAMES = ("bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom", "config", "vga")
PCI_IRQ_NAMES = ("intx", "msi", "msix", "err", "req")

VFIO_DMA_MAP_FLAG_READ = 1 << 0
VFIO_DMA_MAP_FLAG_WRITE = 1 << 1
VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1 << 0
VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1

# struct vfio_device_feature: argsz, flags; then data
DEVICE_FEATURE = Struct("<II")
VFIO_DEVICE_FEATURE_MASK = 0xFFFF
VFIO_DEVICE_FEATURE_GET = 1 << 16
VFIO_DEVICE_FEATURE_SET = 1 << 17
VFIO_DEVICE_FEATURE_PROBE = 1 << 18
