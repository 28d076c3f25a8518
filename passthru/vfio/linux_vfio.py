# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices in ``<linux/vfio.h>``: constants and structures under their own names.

The kernel's ioctls and the vfio-user messages carry the same structures, so both transports share this page. All
are little endian and packed; sizes and offsets are bytes. Beside it: `linux_vfio_container`, `linux_vfio_iommu` and
`linux_vfio_features`.
"""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io

VFIO_TYPE = ord(";")
VFIO_BASE = 100

VFIO_DEVICE_GET_INFO = io(VFIO_TYPE, VFIO_BASE + 7)
VFIO_DEVICE_GET_REGION_INFO = io(VFIO_TYPE, VFIO_BASE + 8)
VFIO_DEVICE_GET_IRQ_INFO = io(VFIO_TYPE, VFIO_BASE + 9)
VFIO_DEVICE_SET_IRQS = io(VFIO_TYPE, VFIO_BASE + 10)
VFIO_DEVICE_RESET = io(VFIO_TYPE, VFIO_BASE + 11)
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = io(VFIO_TYPE, VFIO_BASE + 12)
VFIO_DEVICE_PCI_HOT_RESET = io(VFIO_TYPE, VFIO_BASE + 13)
VFIO_DEVICE_QUERY_GFX_PLANE = io(VFIO_TYPE, VFIO_BASE + 14)
VFIO_DEVICE_GET_GFX_DMABUF = io(VFIO_TYPE, VFIO_BASE + 15)
VFIO_DEVICE_IOEVENTFD = io(VFIO_TYPE, VFIO_BASE + 16)
VFIO_DEVICE_FEATURE = io(VFIO_TYPE, VFIO_BASE + 17)

# struct vfio_device_info as it was first: argsz, flags, num_regions, num_irqs
DEVICE_INFO = Struct("<IIII")
# what later kernels have behind it: cap_offset, padding
DEVICE_INFO_CAPS = Struct("<II")
VFIO_DEVICE_FLAGS_RESET = 1 << 0
VFIO_DEVICE_FLAGS_PCI = 1 << 1
VFIO_DEVICE_FLAGS_PLATFORM = 1 << 2
VFIO_DEVICE_FLAGS_AMBA = 1 << 3
VFIO_DEVICE_FLAGS_CCW = 1 << 4
VFIO_DEVICE_FLAGS_AP = 1 << 5
VFIO_DEVICE_FLAGS_FSL_MC = 1 << 6
VFIO_DEVICE_FLAGS_CAPS = 1 << 7
VFIO_DEVICE_FLAGS_CDX = 1 << 8

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
VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3
VFIO_REGION_INFO_CAP_NVLINK2_SSATGT = 4  # no kernel since 5.12 tells these two
VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD = 5
# struct vfio_region_info_cap_sparse_mmap after its header: nr_areas, reserved; then (offset, size) for each area
SPARSE_MMAP = Struct("<II")
SPARSE_MMAP_AREA = Struct("<QQ")
# struct vfio_region_info_cap_type after its header: type, subtype
REGION_TYPE = Struct("<II")
VFIO_REGION_TYPE_PCI_VENDOR_TYPE = 1 << 31
VFIO_REGION_TYPE_PCI_VENDOR_MASK = 0xFFFF
VFIO_REGION_TYPE_GFX = 1
VFIO_REGION_TYPE_CCW = 2
VFIO_REGION_TYPE_MIGRATION_DEPRECATED = 3

VFIO_DEVICE_INFO_CAP_ZPCI_BASE = 1
VFIO_DEVICE_INFO_CAP_ZPCI_GROUP = 2
VFIO_DEVICE_INFO_CAP_ZPCI_UTIL = 3
VFIO_DEVICE_INFO_CAP_ZPCI_PFIP = 4
VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP = 5
# struct vfio_device_info_cap_pci_atomic_comp after its header: flags, reserved
PCI_ATOMIC_COMP = Struct("<II")
VFIO_PCI_ATOMIC_COMP32 = 1 << 0
VFIO_PCI_ATOMIC_COMP64 = 1 << 1
VFIO_PCI_ATOMIC_COMP128 = 1 << 2

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
VFIO_PCI_BAR1_REGION_INDEX = 1
VFIO_PCI_BAR2_REGION_INDEX = 2
VFIO_PCI_BAR3_REGION_INDEX = 3
VFIO_PCI_BAR4_REGION_INDEX = 4
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

# struct vfio_pci_hot_reset_info: argsz, flags, count; then that many of struct vfio_pci_dependent_device:
# group_id or devid, segment, bus, devfn
HOT_RESET_INFO = Struct("<III")
DEPENDENT_DEVICE = Struct("<IHBB")
VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0
VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1
VFIO_PCI_DEVID_OWNED = 0
VFIO_PCI_DEVID_NOT_OWNED = 0xFFFFFFFF
# struct vfio_pci_hot_reset: argsz, flags, count; then that many descriptors of groups
HOT_RESET = Struct("<III")
DESCRIPTOR = Struct("<i")

# struct vfio_device_ioeventfd: argsz, flags, offset in the descriptor, data, eventfd (-1 takes it away), reserved
IOEVENTFD = Struct("<IIQQiI")
VFIO_DEVICE_IOEVENTFD_8 = 1 << 0
VFIO_DEVICE_IOEVENTFD_16 = 1 << 1
VFIO_DEVICE_IOEVENTFD_32 = 1 << 2
VFIO_DEVICE_IOEVENTFD_64 = 1 << 3
VFIO_DEVICE_IOEVENTFD_SIZE_MASK = 0xF
