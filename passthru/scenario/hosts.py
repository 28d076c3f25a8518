# SPDX-License-Identifier: GPL-2.0-or-later
"""``[host]``: the Linux whose kernel or process owns the devices: this machine, or a rig, which is an emulated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

# Pydantic needs these at run time, to build the models.
from passthru.check.options import Pattern, Scalar, Table
from passthru.qemu.boards import BOARDS
from passthru.qemu.hardware import Hardware
from passthru.qemu.on_board import DEVICES, OnBoard, placed
from passthru.scenario.values import (  # noqa: TC001
    FileOrName,
    HardwareProperty,
    HardwareSlot,
    Line,
    Memory,
    Module,
    Name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from passthru.qemu.shared_ram import Seat


class HostSpec(Table):
    """``[host]``: the Linux whose kernel or process owns the devices."""

    kind: Literal["local", "rig"] = "local"
    """``local`` is this machine, ``rig`` an emulated one."""


class LocalHost(HostSpec):
    """``[host]`` with ``kind = "local"``."""

    kind: Literal["local"] = "local"
    """``local`` is this machine."""


class HardwareSpec(Table):
    """``[host.hardware.NAME]``: a device that the rig has, for an assignment to name."""

    device: Name | None = None
    """QEMU's name of it: pci-serial, edu, igb, or any other of its PCI devices; for arm64 also pl031 and pl011, the
    board's clock and its second serial port."""
    model: Literal["copy-engine", "management-complex"] | None = None
    """Instead of that a device model in the rig's shared RAM, for arm64 with the IOMMU ``ram-smmuv2``."""
    options: dict[Name, Scalar] = {}
    """The model's own options."""
    place: Literal["root", "root-port", "bridge", "amba", "platform"] | None = None
    """On the first bus (``root``), behind a port of its own (``root-port``, by default for PCI Express network cards),
    or behind one PCI bridge with others, and so in one IOMMU group with them (``bridge``). For pl031 and pl011 the bus:
    ``amba``, which is the default, or ``platform``."""
    slot: HardwareSlot | None = None
    """Its slot on the first bus ("05" to "1e") or behind the bridge; the first free one by default."""
    function: int = Field(default=0, ge=0, le=7)
    """Pieces with the same place and slot are functions of one device."""
    properties: dict[HardwareProperty, Scalar] = {}
    """Properties of QEMU's device, as ``-device`` has them: { dma_mask = 0xffffffff }."""

    @property
    def what(self) -> str:
        """The device, or the model."""
        return self.device or self.model or ""

    @property
    def on_board(self) -> bool:
        """Whether it is a device of the board's, or a model in shared RAM, and so none on PCI."""
        return bool(self.model) or self.device in DEVICES

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if bool(self.device) == bool(self.model):
            raise ValueError('needs "device" (QEMU\'s name of one) or "model" (one in shared RAM), one of them')
        if self.options and not self.model:
            raise ValueError('has "options", which are for a "model"; QEMU\'s devices have "properties"')
        pci = [key for key in ("slot", "function", "properties") if getattr(self, key)]
        if self.on_board and pci:
            raise ValueError(f'has "{pci[0]}", which is for PCI devices, and {self.what} is none')
        fitting = () if self.model else ("amba", "platform") if self.on_board else ("root", "root-port", "bridge")
        if self.place is not None and self.place not in fitting:
            ways = f"it can be {' or '.join(fitting)}" if fitting else "leave that out"
            raise ValueError(f'has the place "{self.place}", where no {self.what} is; {ways}')
        return self


class RigHost(HostSpec):
    """``[host]`` with ``kind = "rig"``."""

    kind: Literal["rig"]
    """``rig`` is an emulated machine, booted for the run."""
    arch: Literal["amd64", "arm64"] = "amd64"
    """Its architecture, and its guest's: Debian's word."""
    kernel: Line = Field(default="debian:bookworm", min_length=1)
    """Its kernel: ``debian:SUITE``, ``own`` (built, with iommufd and the mdev samples), a bzImage, or a build tree."""
    emulator: Line = Field(default="auto", min_length=1)
    """The QEMU that emulates it: ``auto``, the path of a binary, or ``debian:SUITE``."""
    qemu: Line = ""
    """The QEMU that runs the guest in it; by default as guest.qemu says."""
    iommu: Literal["intel", "amd", "virtio", "smmuv3", "ram-smmuv2", "none"] = "intel"
    """Its IOMMU; for arm64 ``smmuv3``, which is the default there, ``ram-smmuv2`` (for models in shared RAM), none."""
    tree: tuple[FileOrName, ...] = ()
    """Fragments to add to the device tree of arm64: by name, or files ("./mine.dtsi")."""
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

    @model_validator(mode="before")
    @classmethod
    def _with_the_iommu_of_its_board(cls, table: Any) -> Any:
        if isinstance(table, dict) and "iommu" not in table and (board := BOARDS.get(str(table.get("arch")))):
            return {**table, "iommu": next(iter(board.iommus))}
        return table

    @property
    def pieces(self) -> tuple[Hardware, ...]:
        """The hardware on PCI, as passthru.qemu knows it."""
        return tuple(
            Hardware(name, spec.what, spec.place or "", spec.slot or "", spec.function, spec.properties)
            for name, spec in self.hardware.items()
            if not spec.on_board
        )

    @property
    def on_board(self) -> tuple[OnBoard, ...]:
        """The other hardware."""
        return tuple(
            OnBoard(name, spec.what, spec.place or "", spec.options)
            for name, spec in self.hardware.items()
            if spec.on_board
        )

    @property
    def seats(self) -> Mapping[str, Seat]:
        """Where models are in shared RAM, by their names. Raises Misplaced."""
        return placed(self.on_board, self.arch, self.iommu, self.memory)
