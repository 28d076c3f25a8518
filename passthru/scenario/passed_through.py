# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables ``[device.ID]`` of devices that the host's kernel owns, by VFIO: one type a bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from passthru.scenario.models import DeviceSpec
from passthru.scenario.values import (  # noqa: TC001  (pydantic needs them)
    ContainerName,
    FileOrName,
    OnChipName,
    PciFunction,
    SysfsName,
    Uuid,
)

if TYPE_CHECKING:
    from typing import Self


class PassedThrough(DeviceSpec):
    """``[device.ID]`` of the host's kernel, by VFIO."""

    bus: Literal["pci", "mdev", "platform", "amba", "fsl-mc"]
    container: Literal["type1", "type1v2", "noiommu", "iommufd"] = "type1"
    """How VFIO maps the guest's memory: ``iommufd`` needs a host kernel that has it. No guest gets a device by
    ``type1v2`` and ``noiommu``, which are for ``passthru conform`` and scenarios without a guest."""


class OnGuestsPlatform(PassedThrough):
    """What a device has that is on the guest's platform bus, or may be: its node in the guest's device tree."""

    bus: Literal["mdev", "platform"]
    node: FileOrName | None = None
    """What the guest's device tree says of it: a fragment with NAME@$offset below &{/platform-bus@c000000}, as a file
    ("./mine.dtsi") or by name; by default that for the rig's hardware that it is."""
    regions: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 25)], ...], Field(min_length=1, max_length=16)] = (
        4096,
    )
    """The sizes of its regions in bytes, as VFIO has them."""
    interrupts: int = Field(default=1, ge=0, le=64)
    """How many interrupts it has."""


class PciDevice(PassedThrough):
    """``[device.ID]`` with ``bus = "pci"``: a PCI function of the host's, or an SR-IOV virtual function of it."""

    bus: Literal["pci"]
    """How the device reaches the guest: ``pci`` is vfio-pci of the host's kernel."""
    host: PciFunction
    """A name of the rig's hardware, an address ("0000:00:05.0", "00:06.0/00.0" behind a port), or vendor:device."""
    vf: int | None = Field(default=None, ge=0, le=255)
    """The number of the virtual function that is assigned, from 0; by default the function itself is."""
    vfs: int | None = Field(default=None, ge=1, le=256)
    """How many virtual functions there are to be; by default as many as the scenario's devices need."""

    @property
    def hardware(self) -> str:
        """The name of the rig's hardware; empty where it is named otherwise."""
        return "" if ":" in self.host else self.host

    @model_validator(mode="after")
    def _enough_functions(self) -> Self:
        if self.vf is None and self.vfs is not None:
            raise ValueError('has "vfs" and no "vf", which says the virtual function that is assigned')
        if self.vf is not None and self.vfs is not None and self.vf >= self.vfs:
            raise ValueError(f"is to have virtual function {self.vf} of {self.vfs}, which count from 0")
        return self


class MdevDevice(OnGuestsPlatform):
    """``[device.ID]`` with ``bus = "mdev"``: a mediated device, created for the run, or one that is there."""

    bus: Literal["mdev"]
    """How the device reaches the guest: ``mdev`` is a mediated device of the host's kernel."""
    parent: SysfsName | None = None
    """The device that it is a part of, as in /sys/class/mdev_bus: "mtty"; none for one that is there already."""
    type: SysfsName | None = None
    """One of the parent's types: "mtty-2"."""
    uuid: Uuid | None = None
    """Its UUID; one is made by default. Without parent and type it is that of one that is there, and stays."""

    @model_validator(mode="after")
    def _made_or_there(self) -> Self:
        if self.parent is None and self.type is None:
            if self.uuid is None:
                raise ValueError('needs "parent" and "type" of one that is to be made, or "uuid" of one that is there')
        elif self.parent is None or self.type is None:
            raise ValueError('needs both "parent" and "type", or "uuid" alone for one that is there')
        return self


class OnChipDevice(PassedThrough):
    """What platform and AMBA devices have in common: the chip's own, of which the device tree tells."""

    bus: Literal["platform", "amba"]
    host: OnChipName
    """A name of the rig's hardware, its name in sysfs ("9010000.pl031"), the path of its node in the device tree
    ("/pl031@9010000"), or what it alone is compatible with ("arm,pl031")."""
    container: Literal["type1", "type1v2", "iommufd"] = "type1"
    """How VFIO maps the guest's memory: ``iommufd`` needs a host kernel that has it; ``type1v2`` is for ``passthru
    conform``."""


class PlatformDevice(OnChipDevice, OnGuestsPlatform):
    """``[device.ID]`` with ``bus = "platform"``: a platform device of the host's."""

    bus: Literal["platform"]
    """How the device reaches the guest: ``platform`` is vfio-platform of the host's kernel."""
    reset_required: bool = True
    """Whether VFIO takes it only if it can be reset; false needs Linux 6.3 or newer as the host's kernel."""


class AmbaDevice(OnChipDevice):
    """``[device.ID]`` with ``bus = "amba"``: an AMBA (PrimeCell) device of the host's."""

    bus: Literal["amba"]
    """How the device is reached: ``amba`` is vfio-amba of the host's kernel. QEMU takes no such device."""


class FslMcDevice(PassedThrough):
    """``[device.ID]`` with ``bus = "fsl-mc"``: a DPAA2 container of the host's, with all objects in it."""

    bus: Literal["fsl-mc"]
    """How the device reaches the guest: ``fsl-mc`` is vfio-fsl-mc of the host's kernel."""
    host: ContainerName
    """The container, "dprc.2"; the root container is the host's own."""
    container: Literal["type1", "type1v2", "iommufd"] = "type1"
    """How VFIO maps the guest's memory: ``iommufd`` needs a host kernel that has it; ``type1v2`` is for ``passthru
    conform``."""
