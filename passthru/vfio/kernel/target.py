# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the kernel has a device, and how it is opened: by its group and a container, or by its file and an iommufd."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.kernel.cdev import DeviceFile
from passthru.vfio.kernel.container import CONTAINER, Container
from passthru.vfio.kernel.device import KernelDevice
from passthru.vfio.kernel.dma import ContainerDma, IoasDma
from passthru.vfio.kernel.group import Group
from passthru.vfio.kernel.iommufd import IOMMUFD, Iommufd
from passthru.vfio.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.vfio.device import Opened

Way = Literal["type1", "type1v2", "noiommu", "iommufd"]
WAYS: Mapping[str, int | None] = {
    "type1": vfio.VFIO_TYPE1_IOMMU,
    "type1v2": vfio.VFIO_TYPE1v2_IOMMU,
    "noiommu": vfio.VFIO_NOIOMMU_IOMMU,
    "iommufd": None,
}
"""What SET_IOMMU is given; None is the way without a container."""


@dataclass
class OpenedByGroup:
    """A device with its group and container."""

    device: KernelDevice
    dma: ContainerDma | None
    group: Group
    container: Container
    neighbours: list[KernelDevice] = field(default_factory=list)

    def neighbour(self, name: str) -> KernelDevice:
        """Another device of the group, by its name in sysfs."""
        device = KernelDevice(self.group.device(name))
        self.neighbours.append(device)
        return device

    def close(self) -> None:
        """Close the devices, their group, the container; the mappings end with that."""
        while self.neighbours:
            self.neighbours.pop().close()
        self.device.close()
        self.group.close()
        self.container.close()
        if self.dma:
            self.dma.close()


@dataclass
class OpenedByFile:
    """A device bound to an iommufd, attached to an address space of its own."""

    device: KernelDevice
    dma: IoasDma
    file: DeviceFile
    iommufd: Iommufd
    device_id: int

    def neighbour(self, name: str) -> KernelDevice:
        """Nothing is known of devices that share a group with this one."""
        raise OSError(errno.ENODEV, f"{name} is not asked for where a device is opened by its own file")

    def close(self) -> None:
        """Close the device, which unbinds it, and the iommufd."""
        self.device.close()
        self.iommufd.close()
        self.dma.close()


@dataclass(frozen=True)
class KernelTarget:
    """A device of the kernel's; ``group`` and ``cdev`` are paths, empty where the kernel offers none."""

    name: str
    """In its group: an address or a UUID."""
    way: Way
    group: str = ""
    cdev: str = ""
    container: str = CONTAINER
    iommufd: str = IOMMUFD

    transport: Literal["kernel"] = "kernel"

    @property
    def title(self) -> str:
        """The device and the way to it."""
        return f"{self.name} by {self.way}"

    def open(self) -> Opened:
        """Open it, ready for use. Raises OSError."""
        return self.open_file() if self.way == "iommufd" else self.open_group()

    def open_group(self) -> OpenedByGroup:
        """Open it by its group, in a container of its own. Raises OSError."""
        kind = WAYS[self.way]
        if kind is None:
            raise ValueError(f"{self.title} has no container")
        transcript = Transcript()
        with contextlib.ExitStack() as undo:
            container = Container.open(self.container, transcript)
            undo.callback(container.close)
            group = Group.open(self.group, transcript)
            undo.callback(group.close)
            group.set_container(container.fileno())
            container.set_iommu(kind)
            device = KernelDevice(group.device(self.name))
            undo.pop_all()
        dma = ContainerDma(container) if kind != vfio.VFIO_NOIOMMU_IOMMU else None
        return OpenedByGroup(device, dma, group, container)

    def open_file(self) -> OpenedByFile:
        """Open it by its file, with an iommufd and an IOAS of its own. Raises OSError."""
        transcript = Transcript()
        with contextlib.ExitStack() as undo:
            iommufd = Iommufd.open(self.iommufd, transcript)
            undo.callback(iommufd.close)
            file = DeviceFile.open(self.cdev, transcript)
            undo.callback(file.close)
            device_id = file.bind(iommufd.fileno())
            ioas = iommufd.ioas_alloc()
            file.attach(ioas)
            undo.pop_all()
        return OpenedByFile(KernelDevice(file.descriptor), IoasDma(iommufd, ioas), file, iommufd, device_id)


def kernel_target(described: Mapping[str, object]) -> KernelTarget:
    """The target of its JSON: name, container, and group or cdev (both, where both are there).

    Raises ValueError, whose sentence says what is wrong.
    """
    texts = {}
    for key in ("name", "container", "group", "cdev"):
        value = described.get(key, "")
        if not isinstance(value, str):
            raise ValueError(f"{key} of a kernel's device is no text: {value!r}")
        texts[key] = value
    way = texts["container"]
    if way not in WAYS:
        raise ValueError(f"a container is one of {', '.join(WAYS)}, not {way!r}")
    needed = ("cdev",) if way == "iommufd" else ("name", "group")
    for key in needed:
        if not texts[key]:
            raise ValueError(f"a kernel's device by {way} needs its {key}")
    return KernelTarget(texts["name"] or texts["cdev"], way, texts["group"], texts["cdev"])  # type: ignore[arg-type]
