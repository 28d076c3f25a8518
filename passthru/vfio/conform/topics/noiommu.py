# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices without an IOMMU: their groups are fake, and nothing can be mapped for them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_CITES = 'VFIO_NOIOMMU_IOMMU in <linux/vfio.h>; "vfio: Include No-IOMMU mode" (Linux 4.5)'


@test("noiommu", cites=_CITES)
def groups_without_an_iommu_are_named_so(case: Case) -> None:
    """The group is /dev/vfio/noiommu-N, so that nobody takes it for one that protects."""
    path = ways.target_of(case).group
    case.expect(path.rpartition("/")[2].startswith("noiommu-"), f"the group is {path}")


@test("noiommu", cites=_CITES, fresh=True)
def a_group_without_an_iommu_has_no_other(case: Case) -> None:
    """A container with such a group offers VFIO_NOIOMMU_IOMMU alone; type1 is refused with ENODEV."""
    container, group = ways.new_container(case), ways.new_group(case)
    group.set_container(container.fileno())
    for name in ("VFIO_TYPE1_IOMMU", "VFIO_TYPE1v2_IOMMU"):
        kind = getattr(vfio, name)
        case.expect(not container.check_extension(kind), f"{name} is offered for a group without an IOMMU")
        with case.refused(errno.ENODEV, what=f"VFIO_SET_IOMMU to {name} for a group without an IOMMU"):
            container.set_iommu(kind)
    case.expect(container.check_extension(vfio.VFIO_NOIOMMU_IOMMU) > 0, "VFIO_NOIOMMU_IOMMU is not offered")
    container.set_iommu(vfio.VFIO_NOIOMMU_IOMMU)
    ways.new_device(case, group)


@test("noiommu", cites=_CITES, fresh=True)
def nothing_is_mapped_without_an_iommu(case: Case) -> None:
    """Calls of type1 are refused with ENOTTY."""
    container, group = ways.new_container(case), ways.new_group(case)
    group.set_container(container.fileno())
    container.set_iommu(vfio.VFIO_NOIOMMU_IOMMU)
    with case.refused(errno.ENOTTY, what="VFIO_IOMMU_MAP_DMA without an IOMMU"):
        container.map_raw(iommu.IOMMU_MAP.pack(iommu.IOMMU_MAP.size, 3, 0, 0, 4096))
    with case.refused(errno.ENOTTY, what="VFIO_IOMMU_UNMAP_DMA without an IOMMU"):
        container.unmap(0, 4096)
    with case.refused(errno.ENOTTY, what="VFIO_IOMMU_GET_INFO without an IOMMU"):
        container.iommu_info()
