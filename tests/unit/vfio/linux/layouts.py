# SPDX-License-Identifier: GPL-2.0-or-later
"""Which structure of the kernel's headers each of our layouts is: its fields, and where in it the layout begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd as iommufd
from passthru.vfio import linux_kvm as kvm
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_container as container
from passthru.vfio import linux_vfio_features as features
from passthru.vfio import linux_vfio_iommu as iommu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from struct import Struct

HEADER = vfio.INFO_CAP_HEADER.size


@dataclass(frozen=True)
class Layout:
    """``struct name``; the part of it from ``start`` on has these ``fields``, in this order."""

    name: str
    part: Struct
    fields: str
    start: int = 0

    def places(self) -> Iterator[tuple[str, int, int]]:
        """Name, offset and size in bytes of each field."""
        sizes = [*field_sizes(self.part)]
        names = self.fields.split()
        assert len(names) == len(sizes), self.name
        for name, (offset, size) in zip(names, sizes, strict=True):
            yield name, self.start + offset, size


def field_sizes(part: Struct) -> Iterator[tuple[int, int]]:
    """Offset and size of each field of a layout, padding left out."""
    offset = 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", part.format):
        each = {"B": 1, "H": 2, "I": 4, "i": 4, "Q": 8, "x": 1, "s": 1}[code]
        if code in "xs":
            each *= int(count or 1)
            if code == "s":
                yield offset, each
            offset += each
            continue
        for _ in range(int(count or 1)):
            yield offset, each
            offset += each


LAYOUTS = (
    Layout("vfio_device_info", vfio.DEVICE_INFO, "argsz flags num_regions num_irqs"),
    Layout("vfio_device_info", vfio.DEVICE_INFO_CAPS, "cap_offset pad", vfio.DEVICE_INFO.size),
    Layout("vfio_region_info", vfio.REGION_INFO, "argsz flags index cap_offset size offset"),
    Layout("vfio_info_cap_header", vfio.INFO_CAP_HEADER, "id version next"),
    Layout("vfio_region_info_cap_sparse_mmap", vfio.SPARSE_MMAP, "nr_areas reserved", HEADER),
    Layout("vfio_region_sparse_mmap_area", vfio.SPARSE_MMAP_AREA, "offset size"),
    Layout("vfio_region_info_cap_type", vfio.REGION_TYPE, "type subtype", HEADER),
    Layout("vfio_device_info_cap_pci_atomic_comp", vfio.PCI_ATOMIC_COMP, "flags reserved", HEADER),
    Layout("vfio_irq_info", vfio.IRQ_INFO, "argsz flags index count"),
    Layout("vfio_irq_set", vfio.IRQ_SET, "argsz flags index start count"),
    Layout("vfio_pci_hot_reset_info", vfio.HOT_RESET_INFO, "argsz flags count"),
    Layout("vfio_pci_dependent_device", vfio.DEPENDENT_DEVICE, "group_id segment bus devfn"),
    Layout("vfio_pci_hot_reset", vfio.HOT_RESET, "argsz flags count"),
    Layout("vfio_device_ioeventfd", vfio.IOEVENTFD, "argsz flags offset data fd reserved"),
    Layout("vfio_group_status", container.GROUP_STATUS, "argsz flags"),
    Layout("vfio_device_bind_iommufd", container.BIND_IOMMUFD, "argsz flags iommufd out_devid"),
    Layout("vfio_device_bind_iommufd", container.BIND_IOMMUFD_TOKEN, "token_uuid_ptr", container.BIND_IOMMUFD.size),
    Layout("vfio_device_attach_iommufd_pt", container.ATTACH_IOMMUFD_PT, "argsz flags pt_id"),
    Layout("vfio_device_attach_iommufd_pt", container.PASID, "pasid", container.ATTACH_IOMMUFD_PT.size),
    Layout("vfio_device_detach_iommufd_pt", container.DETACH_IOMMUFD_PT, "argsz flags"),
    Layout("vfio_device_detach_iommufd_pt", container.PASID, "pasid", container.DETACH_IOMMUFD_PT.size),
    Layout("vfio_iommu_type1_info", iommu.IOMMU_INFO, "argsz flags iova_pgsizes"),
    Layout("vfio_iommu_type1_info", iommu.IOMMU_INFO_CAPS, "cap_offset pad", iommu.IOMMU_INFO.size),
    Layout("vfio_iommu_type1_info_cap_iova_range", iommu.IOVA_RANGES, "nr_iovas reserved", HEADER),
    Layout("vfio_iova_range", iommu.IOVA_RANGE, "start end"),
    Layout("vfio_iommu_type1_info_cap_migration", iommu.MIGRATION, "flags pgsize_bitmap max_dirty_bitmap_size", HEADER),
    Layout("vfio_iommu_type1_info_dma_avail", iommu.DMA_AVAIL, "avail", HEADER),
    Layout("vfio_iommu_type1_dma_map", iommu.IOMMU_MAP, "argsz flags vaddr iova size"),
    Layout("vfio_iommu_type1_dma_unmap", iommu.IOMMU_UNMAP, "argsz flags iova size"),
    Layout("vfio_bitmap", iommu.BITMAP, "pgsize size data"),
    Layout("vfio_iommu_type1_dirty_bitmap", iommu.DIRTY_PAGES, "argsz flags"),
    Layout("vfio_iommu_type1_dirty_bitmap_get", iommu.DIRTY_PAGES_RANGE, "iova size"),
    Layout("vfio_device_feature", features.DEVICE_FEATURE, "argsz flags"),
    Layout("vfio_device_feature_migration", features.FEATURE_MIGRATION, "flags"),
    Layout("vfio_device_feature_mig_state", features.MIG_STATE, "device_state data_fd"),
    Layout("vfio_precopy_info", features.PRECOPY_INFO, "argsz flags initial_bytes dirty_bytes"),
    Layout("vfio_device_feature_mig_data_size", features.MIG_DATA_SIZE, "stop_copy_length"),
    Layout("vfio_device_low_power_entry_with_wakeup", features.LOW_POWER_ENTRY_WITH_WAKEUP, "wakeup_eventfd reserved"),
    Layout(
        "vfio_device_feature_dma_logging_control",
        features.DMA_LOGGING_CONTROL,
        "page_size num_ranges __reserved ranges",
    ),
    Layout("vfio_device_feature_dma_logging_range", features.DMA_LOGGING_RANGE, "iova length"),
    Layout("vfio_device_feature_dma_logging_report", features.DMA_LOGGING_REPORT, "iova length page_size bitmap"),
    Layout("vfio_device_feature_bus_master", features.BUS_MASTER, "op"),
    Layout("vfio_device_feature_dma_buf", features.DMA_BUF, "region_index open_flags flags nr_ranges"),
    Layout("vfio_region_dma_range", features.REGION_DMA_RANGE, "offset length"),
    Layout("iommu_destroy", iommufd.DESTROY, "size id"),
    Layout("iommu_ioas_alloc", iommufd.IOAS_ALLOC, "size flags out_ioas_id"),
    Layout("iommu_iova_range", iommufd.IOVA_RANGE, "start last"),
    Layout("iommu_ioas_allow_iovas", iommufd.IOAS_ALLOW_IOVAS, "size ioas_id num_iovas __reserved allowed_iovas"),
    Layout(
        "iommu_ioas_iova_ranges",
        iommufd.IOAS_IOVA_RANGES,
        "size ioas_id num_iovas __reserved allowed_iovas out_iova_alignment",
    ),
    Layout("iommu_ioas_map", iommufd.IOAS_MAP, "size flags ioas_id __reserved user_va length iova"),
    Layout("iommu_ioas_map_file", iommufd.IOAS_MAP_FILE, "size flags ioas_id fd start length iova"),
    Layout("iommu_ioas_copy", iommufd.IOAS_COPY, "size flags dst_ioas_id src_ioas_id length dst_iova src_iova"),
    Layout("iommu_ioas_unmap", iommufd.IOAS_UNMAP, "size ioas_id iova length"),
    Layout("iommu_option", iommufd.OPTION, "size option_id op __reserved object_id val64"),
    Layout("iommu_vfio_ioas", iommufd.VFIO_IOAS, "size ioas_id op __reserved"),
    Layout(
        "iommu_hwpt_alloc",
        iommufd.HWPT_ALLOC,
        "size flags dev_id pt_id out_hwpt_id __reserved data_type data_len data_uptr fault_id __reserved2",
    ),
    Layout(
        "iommu_hw_info",
        iommufd.HW_INFO,
        "size flags dev_id data_len data_uptr out_data_type out_max_pasid_log2 out_capabilities",
    ),
    Layout("iommu_hwpt_set_dirty_tracking", iommufd.HWPT_SET_DIRTY_TRACKING, "size flags hwpt_id __reserved"),
    Layout(
        "iommu_hwpt_get_dirty_bitmap",
        iommufd.HWPT_GET_DIRTY_BITMAP,
        "size hwpt_id flags __reserved iova length page_size data",
    ),
    Layout("kvm_create_device", kvm.CREATE_DEVICE, "type fd flags"),
    Layout("kvm_device_attr", kvm.DEVICE_ATTR, "flags group attr addr"),
)
