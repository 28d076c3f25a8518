# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers, groups and device files in ``<linux/vfio.h>``: how a device is come by, under the kernel's own names."""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io
from passthru.vfio.linux_vfio import VFIO_BASE, VFIO_TYPE

VFIO_API_VERSION = 0

# Of the container, /dev/vfio/vfio
VFIO_GET_API_VERSION = io(VFIO_TYPE, VFIO_BASE)
VFIO_CHECK_EXTENSION = io(VFIO_TYPE, VFIO_BASE + 1)
VFIO_SET_IOMMU = io(VFIO_TYPE, VFIO_BASE + 2)

# Extensions; those called IOMMU are what SET_IOMMU takes
VFIO_TYPE1_IOMMU = 1
VFIO_SPAPR_TCE_IOMMU = 2
VFIO_TYPE1v2_IOMMU = 3
VFIO_DMA_CC_IOMMU = 4
VFIO_EEH = 5
VFIO_TYPE1_NESTING_IOMMU = 6  # reserved since Linux 6.14
VFIO_SPAPR_TCE_v2_IOMMU = 7
VFIO_NOIOMMU_IOMMU = 8
VFIO_UNMAP_ALL = 9
VFIO_UPDATE_VADDR = 10

# Of a group, /dev/vfio/GROUP
VFIO_GROUP_GET_STATUS = io(VFIO_TYPE, VFIO_BASE + 3)
VFIO_GROUP_SET_CONTAINER = io(VFIO_TYPE, VFIO_BASE + 4)
VFIO_GROUP_UNSET_CONTAINER = io(VFIO_TYPE, VFIO_BASE + 5)
VFIO_GROUP_GET_DEVICE_FD = io(VFIO_TYPE, VFIO_BASE + 6)

# struct vfio_group_status: argsz, flags
GROUP_STATUS = Struct("<II")
VFIO_GROUP_FLAGS_VIABLE = 1 << 0
VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1

# Of a device's own file, /dev/vfio/devices/vfioN
VFIO_DEVICE_BIND_IOMMUFD = io(VFIO_TYPE, VFIO_BASE + 18)
VFIO_DEVICE_ATTACH_IOMMUFD_PT = io(VFIO_TYPE, VFIO_BASE + 19)
VFIO_DEVICE_DETACH_IOMMUFD_PT = io(VFIO_TYPE, VFIO_BASE + 20)

# struct vfio_device_bind_iommufd as it was first: argsz, flags, iommufd, out_devid
BIND_IOMMUFD = Struct("<IIiI")
# what Linux 6.17 has behind it: token_uuid_ptr
BIND_IOMMUFD_TOKEN = Struct("<Q")
VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0
# struct vfio_device_attach_iommufd_pt as it was first: argsz, flags, pt_id
ATTACH_IOMMUFD_PT = Struct("<III")
# struct vfio_device_detach_iommufd_pt as it was first: argsz, flags
DETACH_IOMMUFD_PT = Struct("<II")
# what Linux 6.15 has behind both: pasid
PASID = Struct("<I")
VFIO_DEVICE_ATTACH_PASID = 1 << 0
VFIO_DEVICE_DETACH_PASID = 1 << 0
