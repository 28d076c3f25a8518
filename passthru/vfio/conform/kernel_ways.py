# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own things behind a test's target: its groups, containers and address spaces, and their neighbours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio.conform.mappings import TrackedDmaSpace
from passthru.vfio.kernel.cdev import DeviceFile
from passthru.vfio.kernel.container import Container
from passthru.vfio.kernel.dma import ContainerDma, IoasDma
from passthru.vfio.kernel.group import Group
from passthru.vfio.kernel.iommufd import Iommufd
from passthru.vfio.kernel.target import WAYS, KernelTarget

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import DmaSpace
    from passthru.vfio.kernel.descriptor import Descriptor

_TRANSLATED = ("direct", "msi", "reserved")  # kinds of regions that no mapping can be in; "direct-relaxable" can be


def target_of(case: Case) -> KernelTarget:
    """The target, which the kernel has."""
    if not isinstance(case.target, KernelTarget):
        case.missing("the kernel has no device here")
    return case.target


def kind_of(case: Case) -> int:
    """What SET_IOMMU is given for this target."""
    kind = WAYS[target_of(case).way]
    return case.missing("the device is not reached by a container") if kind is None else kind


def new_container(case: Case) -> Container:
    """A container of the test's own, given back at its end."""
    container = Container.open(target_of(case).container)
    case.transcripts.append(container.descriptor.transcript)
    case.keep(container.close)
    return container


def new_group(case: Case) -> Group:
    """The target's group, which nobody may hold at that time, given back at the end of the test."""
    group = Group.open(target_of(case).group)
    case.transcripts.append(group.descriptor.transcript)
    case.keep(group.close)
    return group


def new_device(case: Case, group: Group) -> Descriptor:
    """The device by its group, given back at the end of the test."""
    device = group.device(target_of(case).name)
    case.keep(device.close)
    return device


def new_iommufd(case: Case) -> Iommufd:
    """An iommufd of the test's own, given back at its end."""
    iommufd = Iommufd.open(target_of(case).iommufd)
    case.transcripts.append(iommufd.descriptor.transcript)
    case.keep(iommufd.close)
    return iommufd


def new_file(case: Case) -> DeviceFile:
    """The device's own file, given back at the end of the test."""
    file = DeviceFile.open(target_of(case).cdev)
    case.transcripts.append(file.descriptor.transcript)
    case.keep(file.close)
    return file


def container_of(case: Case) -> Container:
    """The container of the shared opening."""
    space = _space(case.dma)
    return space.container if isinstance(space, ContainerDma) else case.missing("there is no container of type1")


def ioas_of(case: Case) -> IoasDma:
    """The address space that the shared opening is attached to."""
    space = _space(case.dma)
    return space if isinstance(space, IoasDma) else case.missing("there is no address space of an iommufd")


def is_translated(case: Case) -> bool:
    """Whether an IOMMU stands behind the device: a mediated one's memory is looked up when it is used."""
    return not Path(f"/sys/bus/mdev/devices/{target_of(case).name}").exists()


def iommu_driver(case: Case) -> str:
    """The driver of the IOMMU behind the device; empty where sysfs does not tell."""
    for link in Path("/sys/bus").glob(f"*/devices/{target_of(case).name}/iommu/device/driver"):
        return link.readlink().name
    return ""


def reserved_regions(case: Case) -> list[tuple[int, int]]:
    """First and last address of what can never be mapped, as sysfs tells it; nothing where it tells nothing."""
    name = target_of(case).name
    found = []
    for path in Path("/sys/bus").glob(f"*/devices/{name}/iommu_group/reserved_regions"):
        for line in path.read_text().splitlines():
            first, last, kind = line.split()
            if kind in _TRANSLATED:
                found.append((int(first, 16), int(last, 16)))
    return found


def not_of_vfio(case: Case) -> int:
    """A descriptor that has nothing to do with VFIO."""
    descriptor = os.memfd_create("unrelated")
    case.keep(lambda: os.close(descriptor))
    return descriptor


def _space(dma: DmaSpace) -> DmaSpace:
    return dma.space if isinstance(dma, TrackedDmaSpace) else dma
