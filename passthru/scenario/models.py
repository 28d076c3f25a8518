# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario, as it is after includes and overrides: frozen, validated, with its defaults filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, model_serializer, model_validator

# Pydantic needs these at run time, to build the models.
from passthru.check.options import CheckOptions, Pattern, Scalar, Table
from passthru.scenario.hosts import HostSpec, LocalHost, RigHost
from passthru.scenario.values import (
    Line,
    Memory,
    Name,
    PathText,
    Property,
    Slot,
    SocketPath,
    Word,
    distinct,
)

if TYPE_CHECKING:
    from typing import Self

    from passthru.scenario.passed_through import PassedThrough

Subject = Literal["device", "guest-kernel", "host-kernel", "qemu"]
Bus = Literal["vfio-user", "pci", "mdev", "platform", "amba", "fsl-mc"]


class GuestSpec(Table):
    """``[guest]``: the VM that the devices are assigned to."""

    kind: Literal["vm", "none"] = "vm"
    """``none``: there is no guest; the devices are judged on their host, by the checks that need none."""
    kernel: Line = Field(default="debian:bookworm/cloud", min_length=1)
    """``debian:SUITE[/cloud]``, ``own`` (built here, with iommufd), a bzImage, or a kernel build tree."""
    qemu: Line = Field(default="auto", min_length=1)
    """``auto``, the path of a binary, or ``debian:SUITE``."""
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where a guest really runs on it."""
    machine: Literal["pc", "q35", "virt"] = "pc"
    """The machine that QEMU emulates; in a rig of arm64 it is ``virt``."""
    memory: Memory = 256
    """The guest's RAM, with its unit: "256M", "1G"."""
    cpus: int = Field(default=1, ge=1, le=64)
    """The number of virtual CPUs."""
    image: Name = "guest"
    """The recipe of the guest's image, under images/."""
    kernel_config: tuple[Name, ...] = ()
    """Options that the kernel must have, such as "SERIAL_8250_PCI"; where it lacks one, nothing can be judged."""
    modules: tuple[Name, ...] = ()
    """Kernel modules to load in addition."""
    cmdline: Line = ""
    """Kernel parameters in addition."""
    qemu_args: tuple[Word, ...] = ()
    """Further arguments of QEMU, as they are: ["-device", "virtio-rng-pci"]."""
    quirks: tuple[Pattern, ...] = ()
    """Patterns of known kernel messages (splats): told, and not counted as failures."""

    @property
    def memory_bytes(self) -> int:
        """The guest's RAM in bytes, where ``memory`` is MiB."""
        return self.memory << 20


class NoGuest(GuestSpec):
    """``[guest]`` with ``kind = "none"``."""

    kind: Literal["none"]
    """``none``: there is no guest."""

    @model_serializer(mode="plain")
    def _nothing_else(self) -> dict[str, str]:
        return {"kind": self.kind}


class CompanionSpec(Table):
    """``companion`` of a device: a vfio-user server of others, started for the run or running already."""

    command: tuple[Word, ...] = ()
    """What is started, its program first; ``{socket}`` in it becomes the path of the socket where it has to listen."""
    socket: SocketPath | None = None
    """The path of the socket where it listens; without ``command`` the server runs already, and nothing is started."""
    directory: PathText | None = None
    """Where the command runs and the socket's path begins; by default where the file with the companion is."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds until it must listen (stretched where the guest is emulated)."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not self.command and self.socket is None:
            raise ValueError('needs "command" (what to start), "socket" (where a server listens), or both')
        if self.command and not self.command[0]:
            raise ValueError("has a command whose program is an empty word")
        if self.socket is None and not any("{socket}" in word for word in self.command):
            raise ValueError('has a command without {socket} in it, and no "socket" either: nobody knows its path')
        return self


class DeviceSpec(Table):
    """``[device.ID]``: one assignment; each model's own options stand beside these keys."""

    option_names: ClassVar[tuple[str, ...]] = ()
    """The keys that are the model's own options."""

    bus: Bus
    """How the device reaches the guest."""
    model: str = ""
    """A device model: what the device is like, for the checks."""
    address: Slot = "05.0"
    """Where the guest finds it on its first PCI bus; the first free slot from 05.0 on by default."""
    properties: dict[Property, Scalar] = {}
    """Properties of QEMU's device, as ``-device`` has them: { x-no-posted-writes = true }."""

    @property
    def guest_address(self) -> str:
        """The device's PCI address in the guest, in full: ``0000:00:05.0``."""
        return f"0000:00:{self.address}"

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """The model's own options by name, defaults filled in."""
        return {name: getattr(self, name) for name in self.option_names}


class ServedDevice(DeviceSpec):
    """``[device.ID]`` with ``bus = "vfio-user"``: a model behind a socket."""

    bus: Literal["vfio-user"]
    """How the device reaches the guest: ``vfio-user`` is a model behind a socket."""
    model: str = ""
    """The device model that is served; beside a companion, what its device is like, for the checks."""
    companion: CompanionSpec | None = None
    """A vfio-user server of others, which is used instead of one of ours."""


class CompanionDevice(ServedDevice):
    """A device that a companion provides, like none of our models."""

    model: Literal[""] = ""


class Scenario(Table):
    """A scenario: what boots, with which devices, and what is checked."""

    name: Name
    """What reports call it; the file's name by default."""
    summary: Line = ""
    """One line that says what is judged."""
    subject: Annotated[tuple[Subject, ...], Field(min_length=1), AfterValidator(distinct)] = ("device",)
    """What is under test: its death, hang or splat is a failure; anything else's means that nothing could be judged."""
    deadline: float = Field(default=60.0, gt=0)
    """Seconds for the whole run (stretched where the guest is emulated)."""
    host: SerializeAsAny[HostSpec] = LocalHost()
    """The Linux that owns the devices: this machine, or a rig."""
    guest: SerializeAsAny[GuestSpec] = GuestSpec()
    """The VM that the devices are assigned to, if there is to be one."""
    device: dict[Name, SerializeAsAny[DeviceSpec]] = {}
    """Devices by their ids."""
    check: dict[Name, SerializeAsAny[CheckOptions]] = {}
    """Checks by their ids, in the order in which they run."""

    @property
    def served(self) -> dict[str, ServedDevice]:
        """The devices that a process serves over vfio-user."""
        return {name: device for name, device in self.device.items() if isinstance(device, ServedDevice)}

    @property
    def passed_through(self) -> dict[str, PassedThrough]:
        """The devices of the host's kernel."""
        from passthru.scenario.passed_through import PassedThrough  # whose tables are made of the one above

        return {name: device for name, device in self.device.items() if isinstance(device, PassedThrough)}

    @property
    def has_guest(self) -> bool:
        """Whether a guest is booted; if not, the devices are judged on their host."""
        return self.guest.kind != "none"

    @property
    def guest_qemu(self) -> str:
        """The QEMU that runs the guest, as the user names it."""
        return (self.host.qemu if isinstance(self.host, RigHost) else "") or self.guest.qemu

    @property
    def rig_arch(self) -> str:
        """The architecture of the rig (Debian's word); empty where there is none."""
        return self.host.arch if isinstance(self.host, RigHost) else ""

    @property
    def guest_arch(self) -> str:
        """The guest's architecture, which is its rig's."""
        return self.rig_arch or "amd64"
