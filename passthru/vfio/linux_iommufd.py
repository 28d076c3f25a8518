# SPDX-License-Identifier: GPL-2.0-or-later
"""Constants and structures of ``<linux/iommufd.h>``, under their own names; addresses and lengths are bytes.

A structure begins with its size, which also tells the kernel which fields the caller knows.
"""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io

IOMMUFD_TYPE = ord(";")

IOMMU_DESTROY = io(IOMMUFD_TYPE, 0x80)
IOMMU_IOAS_ALLOC = io(IOMMUFD_TYPE, 0x81)
IOMMU_IOAS_ALLOW_IOVAS = io(IOMMUFD_TYPE, 0x82)
IOMMU_IOAS_COPY = io(IOMMUFD_TYPE, 0x83)
IOMMU_IOAS_IOVA_RANGES = io(IOMMUFD_TYPE, 0x84)
IOMMU_IOAS_MAP = io(IOMMUFD_TYPE, 0x85)
IOMMU_IOAS_UNMAP = io(IOMMUFD_TYPE, 0x86)
IOMMU_OPTION = io(IOMMUFD_TYPE, 0x87)
IOMMU_VFIO_IOAS = io(IOMMUFD_TYPE, 0x88)
IOMMU_HWPT_ALLOC = io(IOMMUFD_TYPE, 0x89)
IOMMU_GET_HW_INFO = io(IOMMUFD_TYPE, 0x8A)
IOMMU_HWPT_SET_DIRTY_TRACKING = io(IOMMUFD_TYPE, 0x8B)
IOMMU_HWPT_GET_DIRTY_BITMAP = io(IOMMUFD_TYPE, 0x8C)
IOMMU_HWPT_INVALIDATE = io(IOMMUFD_TYPE, 0x8D)
IOMMU_FAULT_QUEUE_ALLOC = io(IOMMUFD_TYPE, 0x8E)
IOMMU_IOAS_MAP_FILE = io(IOMMUFD_TYPE, 0x8F)
IOMMU_VIOMMU_ALLOC = io(IOMMUFD_TYPE, 0x90)
IOMMU_VDEVICE_ALLOC = io(IOMMUFD_TYPE, 0x91)
IOMMU_IOAS_CHANGE_PROCESS = io(IOMMUFD_TYPE, 0x92)
IOMMU_VEVENTQ_ALLOC = io(IOMMUFD_TYPE, 0x93)
IOMMU_HW_QUEUE_ALLOC = io(IOMMUFD_TYPE, 0x94)

# struct iommu_destroy: size, id
DESTROY = Struct("<II")
# struct iommu_ioas_alloc: size, flags, out_ioas_id
IOAS_ALLOC = Struct("<III")
# struct iommu_iova_range: start, last
IOVA_RANGE = Struct("<QQ")
# struct iommu_ioas_allow_iovas: size, ioas_id, num_iovas, reserved, address of the ranges
IOAS_ALLOW_IOVAS = Struct("<IIIIQ")
# struct iommu_ioas_iova_ranges: size, ioas_id, num_iovas, reserved, address of the ranges, out_iova_alignment
IOAS_IOVA_RANGES = Struct("<IIIIQQ")
# struct iommu_ioas_map: size, flags, ioas_id, reserved, user_va, length, iova
IOAS_MAP = Struct("<IIIIQQQ")
# struct iommu_ioas_map_file: size, flags, ioas_id, fd, start in the file, length, iova
IOAS_MAP_FILE = Struct("<IIIiQQQ")
IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0
IOMMU_IOAS_MAP_WRITEABLE = 1 << 1
IOMMU_IOAS_MAP_READABLE = 1 << 2
# struct iommu_ioas_copy: size, flags, dst_ioas_id, src_ioas_id, length, dst_iova, src_iova
IOAS_COPY = Struct("<IIIIQQQ")
# struct iommu_ioas_unmap: size, ioas_id, iova, length
IOAS_UNMAP = Struct("<IIQQ")

# struct iommu_option: size, option_id, op, reserved, object_id, val64
OPTION = Struct("<IIHHIQ")
IOMMU_OPTION_RLIMIT_MODE = 0
IOMMU_OPTION_HUGE_PAGES = 1
IOMMU_OPTION_OP_SET = 0
IOMMU_OPTION_OP_GET = 1

# struct iommu_vfio_ioas: size, ioas_id, op, reserved
VFIO_IOAS = Struct("<IIHH")
IOMMU_VFIO_IOAS_GET = 0
IOMMU_VFIO_IOAS_SET = 1
IOMMU_VFIO_IOAS_CLEAR = 2

# struct iommu_hwpt_alloc: size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len, address of the data,
# fault_id, reserved
HWPT_ALLOC = Struct("<IIIIIIIIQII")
IOMMU_HWPT_ALLOC_NEST_PARENT = 1 << 0
IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1 << 1
IOMMU_HWPT_FAULT_ID_VALID = 1 << 2
IOMMU_HWPT_ALLOC_PASID = 1 << 3
IOMMU_HWPT_DATA_NONE = 0

# struct iommu_hw_info: size, flags, dev_id, data_len, address of the data, out_data_type, out_max_pasid_log2,
# 3 reserved, out_capabilities
HW_INFO = Struct("<IIIIQIB3xQ")
IOMMU_HW_INFO_TYPE_NONE = 0
IOMMU_HW_INFO_TYPE_INTEL_VTD = 1
IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2
IOMMU_HW_CAP_DIRTY_TRACKING = 1 << 0
IOMMU_HW_CAP_PCI_PASID_EXEC = 1 << 1
IOMMU_HW_CAP_PCI_PASID_PRIV = 1 << 2
IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1 << 3

# struct iommu_hwpt_set_dirty_tracking: size, flags, hwpt_id, reserved
HWPT_SET_DIRTY_TRACKING = Struct("<IIII")
IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1
# struct iommu_hwpt_get_dirty_bitmap: size, hwpt_id, flags, reserved, iova, length, page_size, address of the bitmap
HWPT_GET_DIRTY_BITMAP = Struct("<IIIIQQQQ")
IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1
