# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of structures' fields, for those who read what was sent and what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd as iommufd
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_container as container
from passthru.vfio import linux_vfio_features as features
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from struct import Struct

_MAP = "argsz flags vaddr iova size"
_CALLS: dict[str, tuple[Struct, str]] = {
    "DEVICE_GET_INFO": (vfio.DEVICE_INFO, "argsz flags num_regions num_irqs"),
    "DEVICE_GET_REGION_INFO": (vfio.REGION_INFO, "argsz flags index cap_offset size offset"),
    "DEVICE_GET_IRQ_INFO": (vfio.IRQ_INFO, "argsz flags index count"),
    "DEVICE_SET_IRQS": (vfio.IRQ_SET, "argsz flags index start count"),
    "DEVICE_FEATURE": (features.DEVICE_FEATURE, "argsz flags"),
    "DEVICE_GET_PCI_HOT_RESET_INFO": (vfio.HOT_RESET_INFO, "argsz flags count"),
    "DEVICE_PCI_HOT_RESET": (vfio.HOT_RESET, "argsz flags count"),
    "DEVICE_BIND_IOMMUFD": (container.BIND_IOMMUFD, "argsz flags iommufd devid"),
    "DEVICE_ATTACH_IOMMUFD_PT": (container.ATTACH_IOMMUFD_PT, "argsz flags pt_id"),
    "DEVICE_DETACH_IOMMUFD_PT": (container.DETACH_IOMMUFD_PT, "argsz flags"),
    "GROUP_GET_STATUS": (container.GROUP_STATUS, "argsz flags"),
    "IOMMU_GET_INFO": (iommu.IOMMU_INFO, "argsz flags iova_pgsizes"),
    "IOMMU_MAP_DMA": (iommu.IOMMU_MAP, _MAP),
    "IOMMU_UNMAP_DMA": (iommu.IOMMU_UNMAP, "argsz flags iova size"),
    "IOMMU_DIRTY_PAGES": (iommu.DIRTY_PAGES, "argsz flags"),
    "IOMMU_DESTROY": (iommufd.DESTROY, "size id"),
    "IOMMU_IOAS_ALLOC": (iommufd.IOAS_ALLOC, "size flags ioas_id"),
    "IOMMU_IOAS_IOVA_RANGES": (iommufd.IOAS_IOVA_RANGES, "size ioas_id num_iovas reserved iovas alignment"),
    "IOMMU_IOAS_ALLOW_IOVAS": (iommufd.IOAS_ALLOW_IOVAS, "size ioas_id num_iovas reserved iovas"),
    "IOMMU_IOAS_MAP": (iommufd.IOAS_MAP, "size flags ioas_id reserved user_va length iova"),
    "IOMMU_IOAS_MAP_FILE": (iommufd.IOAS_MAP_FILE, "size flags ioas_id fd start length iova"),
    "IOMMU_IOAS_COPY": (iommufd.IOAS_COPY, "size flags dst_ioas_id src_ioas_id length dst_iova src_iova"),
    "IOMMU_IOAS_UNMAP": (iommufd.IOAS_UNMAP, "size ioas_id iova length"),
    "IOMMU_OPTION": (iommufd.OPTION, "size option_id op reserved object_id val64"),
    "DMA_MAP": (user.DMA_MAP, "argsz flags offset address size"),
    "DMA_UNMAP": (user.DMA_UNMAP, "argsz flags address size"),
}


def named_fields(call: str, data: bytes) -> tuple[str, bytes]:
    """The fields that the structure of a call begins with, as text, and the bytes behind them.

    ``call`` is an ioctl or a message of vfio-user. The text is empty for what is unknown or cut short.
    """
    layout, names = _CALLS.get(call.removeprefix("VFIO_"), (None, ""))
    if layout is None or len(data) < layout.size:
        return "", data
    fields = zip(names.split(), layout.unpack_from(data), strict=True)
    return " ".join(f"{name}={_number(value)}" for name, value in fields), data[layout.size :]


def _number(value: int) -> str:
    return str(value) if -10 < value < 10 else hex(value)
