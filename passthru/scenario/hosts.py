# SPDX-License-Identifier: GPL-2.0-or-later
"""``[host]``: the Linux whose kernel or process owns the devices: this machine, or a rig, which is an emulated one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

# Pydantic needs these at run time, to build the models.
from passthru.check.options import Pattern, Scalar, Table
from passthru.qemu.hardware import Hardware
from passthru.scenario.values import HardwareProperty, HardwareSlot, Line, Memory, Module, Name  # noqa: TC001


class HostSpec(Table):
    """``[host]``: the Linux whose kernel or process owns the devices."""

    kind: Literal["local", "rig"] = "local"
    """``local`` is this machine, ``rig`` an emulated one."""


class LocalHost(HostSpec):
    """``[host]`` with ``kind = "local"``."""

    kind: Literal["local"] = "local"
    """``local`` is this machine."""


class HardwareSpec(Table):
    """``[host.hardware.NAME]``: a device that QEMU emulates for the rig, for an assignment to name."""

    device: Name
    """QEMU's name of it: pci-serial, edu, igb, or any other of its PCI devices."""
    place: Literal["root", "root-port", "bridge"] | None = None
    """On the first bus (``root``), behind a port of its own (``root-port``, by default for PCI Express network cards),
    or behind one PCI bridge with others, and so in one IOMMU group with them (``bridge``)."""
    slot: HardwareSlot | None = None
    """Its slot on the first bus ("05" to "1e") or behind the bridge; the first free one by default."""
    function: int = Field(default=0, ge=0, le=7)
    """Pieces with the same place and slot are functions of one device."""
    properties: dict[HardwareProperty, Scalar] = {}
    """Properties of QEMU's device, as ``-device`` has them: { dma_mask = 0xffffffff }."""


class RigHost(HostSpec):
    """``[host]`` with ``kind = "rig"``."""

    kind: Literal["rig"]
    """``rig`` is an emulated machine, booted for the run."""
    kernel: Line = Field(default="debian:bookworm", min_length=1)
    """Its kernel: ``debian:SUITE``, ``own`` (built, with iommufd and the mdev samples), a bzImage, or a build tree."""
    emulator: Line = Field(default="auto", min_length=1)
    """The QEMU that emulates it: ``auto``, the path of a binary, or ``debian:SUITE``."""
    qemu: Line = ""
    """The QEMU that runs the guest in it; by default as guest.qemu says."""
    iommu: Literal["intel", "amd", "virtio", "none"] = "intel"
    """Its IOMMU."""
    modules: tuple[Module, ...] = ()
    """Kernel modules to load: recipes ("mtty"), modules of its kernel, or directories of .ko files ("./mine")."""
    memory: Memory = 2048
    """Its RAM, with its unit: "2G"."""
    cpus: int = Field(default=2, ge=1, le=64)
    """The number of its virtual CPUs."""
    cmdline: Line = ""
    """Kernel parameters in addition."""
    unsafe_interrupts: bool = False
    """Whether its VFIO takes an IOMMU that does not remap interrupts, such as ``virtio``."""
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where it really works."""
    quirks: tuple[Pattern, ...] = ()
    """Patterns of known messages of its kernel (splats): told, and not counted as failures."""
    hardware: dict[Name, HardwareSpec] = {}
    """Its devices by their names."""

    @property
    def pieces(self) -> tuple[Hardware, ...]:
        """The hardware, as passthru.qemu knows it."""
        return tuple(
            Hardware(name, spec.device, spec.place or "", spec.slot or "", spec.function, spec.properties)
            for name, spec in self.hardware.items()
        )
