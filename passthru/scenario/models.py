# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario, as it is after includes and overrides: frozen, validated, with its defaults filled in."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializeAsAny,
    WithJsonSchema,
    model_validator,
)

# Pydantic needs these at run time, to build the models.
from passthru.check.options import CheckOptions, Pattern, Scalar, Table

if TYPE_CHECKING:
    from typing import Self

Subject = Literal["device", "guest-kernel", "host-kernel", "qemu"]

_WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_SLOT = r"(0[5-9a-f]|1[0-9a-e])\.0"
_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), but for the zero byte at its end
_MEMORY = r"([1-9][0-9]{0,5})([MG])"


def _mebibytes(value: object) -> int:
    match = re.fullmatch(_MEMORY, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be an amount with its unit, such as "256M" or "1G"')
    return int(match[1]) * (1024 if match[2] == "G" else 1)


def _one_line(value: str) -> str:
    if "\n" in value or "\0" in value:
        raise ValueError("should be one line")
    return value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("should name each thing once")
    return value


def _without_zero(value: str) -> str:
    if "\0" in value:
        raise ValueError("should not hold a zero byte")
    return value


def _socket_path(value: str) -> str:
    if len(os.fsencode(value)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"should be a path of at most {_LONGEST_SOCKET_PATH} bytes, counted from /")
    return value


Memory = Annotated[
    int,
    BeforeValidator(_mebibytes),
    PlainSerializer(lambda mebibytes: f"{mebibytes}M", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MEMORY}$"}),
]
"""Written "256M" or "1G"; in MiB."""


def _word(value: str) -> str:
    if not re.fullmatch(_WORD, value):
        raise ValueError("should be a word of letters, digits, dots, dashes and underscores")
    return value


def _slot(value: str) -> str:
    if not re.fullmatch(_SLOT, value):
        raise ValueError('should be a slot from "05.0" to "1e.0" (the lower ones and 1f are the machine\'s own)')
    return value


Name = Annotated[str, AfterValidator(_word), Field(json_schema_extra={"pattern": f"^{_WORD}$"})]
Slot = Annotated[str, AfterValidator(_slot), Field(json_schema_extra={"pattern": f"^{_SLOT}$"})]
Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[str, AfterValidator(_without_zero)]
PathText = Annotated[str, AfterValidator(_one_line), Field(min_length=1)]
SocketPath = Annotated[PathText, AfterValidator(_socket_path)]


_OWN_PROPERTIES = ("id", "driver", "addr", "bus", "socket", "host", "sysfsdev")


def _not_ours(name: str) -> str:
    if name in _OWN_PROPERTIES:
        raise ValueError("is set by passthru itself")
    return name


Property = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$"), AfterValidator(_not_ours)]


class HostSpec(Table):
    """``[host]``: the Linux whose kernel or process owns the devices."""

    kind: Literal["local"] = "local"
    """``local`` is this machine."""


class GuestSpec(Table):
    """``[guest]``: the VM that the devices are assigned to."""

    kernel: Line = Field(default="debian:bookworm/cloud", min_length=1)
    """``debian:SUITE[/cloud]``, a bzImage, or a kernel build tree."""
    qemu: Line = Field(default="auto", min_length=1)
    """``auto``, the path of a binary, or ``debian:SUITE``."""
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where a guest really runs on it."""
    machine: Literal["pc", "q35"] = "pc"
    """The machine that QEMU emulates."""
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

    bus: Literal["vfio-user"]
    """How the device reaches the guest: ``vfio-user`` is a model behind a socket."""
    model: str = ""
    """The device model that is served; beside a companion, what its device is like, for the checks."""
    companion: CompanionSpec | None = None
    """A vfio-user server of others, which is used instead of one of ours."""
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
        return {name: getattr(self, name) for name in type(self).model_fields if name not in DeviceSpec.model_fields}


class CompanionDevice(DeviceSpec):
    """A device that a companion provides, like none of our models."""

    model: Literal[""] = ""


class Scenario(Table):
    """A scenario: what boots, with which devices, and what is checked."""

    name: Name
    """What reports call it; the file's name by default."""
    summary: Line = ""
    """One line that says what is judged."""
    subject: Annotated[tuple[Subject, ...], Field(min_length=1), AfterValidator(_distinct)] = ("device",)
    """What is under test: its death, hang or splat is a failure; anything else's means that nothing could be judged."""
    deadline: float = Field(default=60.0, gt=0)
    """Seconds for the whole run (stretched where the guest is emulated)."""
    host: HostSpec = HostSpec()
    guest: GuestSpec = GuestSpec()
    device: dict[Name, SerializeAsAny[DeviceSpec]] = {}
    """Devices by their ids."""
    check: dict[Name, SerializeAsAny[CheckOptions]] = {}
    """Checks by their ids, in the order in which they run."""
