# SPDX-License-Identifier: GPL-2.0-or-later
"""Device features in ``<linux/vfio.h>``, migration among them, under the kernel's own names."""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io
from passthru.vfio.linux_vfio import VFIO_BASE, VFIO_TYPE

# struct vfio_device_feature: argsz, flags; then data
DEVICE_FEATURE = Struct("<II")
VFIO_DEVICE_FEATURE_MASK = 0xFFFF
VFIO_DEVICE_FEATURE_GET = 1 << 16
VFIO_DEVICE_FEATURE_SET = 1 << 17
VFIO_DEVICE_FEATURE_PROBE = 1 << 18

VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0
VFIO_DEVICE_FEATURE_MIGRATION = 1
VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2
VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3
VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4
VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5
VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6
VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7
VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8
VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9
VFIO_DEVICE_FEATURE_BUS_MASTER = 10
VFIO_DEVICE_FEATURE_DMA_BUF = 11
VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12

FEATURE_NAMES = (
    "PCI_VF_TOKEN",
    "MIGRATION",
    "MIG_DEVICE_STATE",
    "LOW_POWER_ENTRY",
    "LOW_POWER_ENTRY_WITH_WAKEUP",
    "LOW_POWER_EXIT",
    "DMA_LOGGING_START",
    "DMA_LOGGING_STOP",
    "DMA_LOGGING_REPORT",
    "MIG_DATA_SIZE",
    "BUS_MASTER",
    "DMA_BUF",
    "MIG_PRECOPY_INFOv2",
)

# A UUID's bytes
PCI_VF_TOKEN = Struct("<16s")
# struct vfio_device_feature_migration: flags
FEATURE_MIGRATION = Struct("<Q")
VFIO_MIGRATION_STOP_COPY = 1 << 0
VFIO_MIGRATION_P2P = 1 << 1
VFIO_MIGRATION_PRE_COPY = 1 << 2
# struct vfio_device_feature_mig_state: device_state, data_fd
MIG_STATE = Struct("<Ii")
VFIO_DEVICE_STATE_ERROR = 0
VFIO_DEVICE_STATE_STOP = 1
VFIO_DEVICE_STATE_RUNNING = 2
VFIO_DEVICE_STATE_STOP_COPY = 3
VFIO_DEVICE_STATE_RESUMING = 4
VFIO_DEVICE_STATE_RUNNING_P2P = 5
VFIO_DEVICE_STATE_PRE_COPY = 6
VFIO_DEVICE_STATE_PRE_COPY_P2P = 7
VFIO_DEVICE_STATE_NR = 8

# Of the descriptor by which a device's state is moved
VFIO_MIG_GET_PRECOPY_INFO = io(VFIO_TYPE, VFIO_BASE + 21)
# struct vfio_precopy_info: argsz, flags, initial_bytes, dirty_bytes
PRECOPY_INFO = Struct("<IIQQ")
VFIO_PRECOPY_INFO_REINIT = 1 << 0
# struct vfio_device_feature_mig_data_size: stop_copy_length
MIG_DATA_SIZE = Struct("<Q")

# struct vfio_device_low_power_entry_with_wakeup: wakeup_eventfd, reserved
LOW_POWER_ENTRY_WITH_WAKEUP = Struct("<iI")
# struct vfio_device_feature_dma_logging_control: page_size, num_ranges, reserved, address of the ranges
DMA_LOGGING_CONTROL = Struct("<QIIQ")
# struct vfio_device_feature_dma_logging_range: iova, length
DMA_LOGGING_RANGE = Struct("<QQ")
# struct vfio_device_feature_dma_logging_report: iova, length, page_size, address of the bitmap
DMA_LOGGING_REPORT = Struct("<QQQQ")
# struct vfio_device_feature_bus_master: op
BUS_MASTER = Struct("<I")
VFIO_DEVICE_FEATURE_CLEAR_MASTER = 0
VFIO_DEVICE_FEATURE_SET_MASTER = 1
# struct vfio_device_feature_dma_buf: region_index, open_flags, flags, nr_ranges; then (offset, length) for each
DMA_BUF = Struct("<IIII")
REGION_DMA_RANGE = Struct("<QQ")
