# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables ``[device.ID]`` of devices that the host's kernel owns, by VFIO: one type a bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from passthru.scenario.models import DeviceSpec
from passthru.scenario.values import PciFunction, SysfsName, Uuid  # noqa: TC001  (pydantic needs them)

if TYPE_CHECKING:
    from typing import Self


class PassedThrough(DeviceSpec):
    """``[device.ID]`` of the host's kernel, by VFIO."""

    bus: Literal["pci", "mdev"]
    container: Literal["type1", "iommufd"] = "type1"
    """How VFIO maps the guest's memory: ``iommufd`` needs a host kernel that has it."""


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


class MdevDevice(PassedThrough):
    """``[device.ID]`` with ``bus = "mdev"``: a mediated device, created for the run."""

    bus: Literal["mdev"]
    """How the device reaches the guest: ``mdev`` is a mediated device of the host's kernel."""
    parent: SysfsName
    """The device that it is a part of, as in /sys/class/mdev_bus: "mtty"."""
    type: SysfsName
    """One of the parent's types: "mtty-2"."""
    uuid: Uuid | None = None
    """Its UUID; one is made by default."""
