# SPDX-License-Identifier: GPL-2.0-or-later
"""From a description of a guest to QEMU's arguments; nothing is started here, and nothing looked up.

Consoles, the agent's port and QMP are socket pairs, written ``{stream:NAME}``; device servers are UNIX sockets,
written ``{socket:NAME}``: the worker that starts QEMU puts descriptors and paths there. ``passthru.qemu.script`` writes
the same guest for a shell.

Figures behind the defaults: x86-64 under TCG, a Debian 6.1 cloud kernel, to the first line of /init, least of eight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.binary import Qemu

SERIAL = "ttyS0"
"""The stream of the first serial port: kernel messages, whatever the guest calls the port."""
AGENT = "agent"
SHELL = "shell"
QMP = "qmp"

AGENT_PORT = "passthru.agent"
"""The name of the agent's port in the guest: /dev/virtio-ports/NAME, /sys/class/virtio-ports/*/name."""
VIRTIO_SERIAL_SLOT = "04.0"
DEVICE_SLOT = "05.0"

# A server that answers too late is dead to QEMU for good (facts: x-msg-timeout), and the machine may be slow.
MESSAGE_TIMEOUT_MS = 60_000

_SERIAL_CONSOLE = {"x86_64": "ttyS0", "i386": "ttyS0", "aarch64": "ttyAMA0", "arm": "ttyAMA0"}

# The crypto layer tests itself at each boot (0.2 s), and a kernel on one processor rewrites all its locks (0.08 s).
# Neither is judged; a kernel that knows a word no more ignores it.
_QUICK = {"x86_64": ("cryptomgr.notests", "noreplace-smp")}

Chardev = Callable[[str], str]
"""From a stream's name to the value of -chardev that carries it; its id is the name."""


@dataclass(frozen=True)
class Device:
    """One ``-device``; ``properties`` are QEMU's own, nested ones as mappings."""

    driver: str
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    shares_memory: bool = False
    """Whether another process reads and writes the guest's memory for it."""

    def as_argument(self) -> str:
        """The value of -device: JSON where a property is nested (from QEMU 6.2 on), else the form of all versions."""
        if any(isinstance(value, Mapping | list) for value in self.properties.values()):
            return json.dumps({"driver": self.driver, **self.properties})
        return ",".join((self.driver, *(f"{name}={_plain(value)}" for name, value in self.properties.items())))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")


@dataclass(frozen=True)
class Vm:
    """A guest's machine."""

    kernel: Path
    initrd: Path | None
    cmdline: str
    """The kernel's whole command line; see ``command_line``."""
    machine: str = "pc"
    memory_mib: int = 256
    cpus: int = 1
    devices: tuple[Device, ...] = ()
    virtio_serial: bool = True
    """Whether the guest gets a port for the agent and a virtio console, beside the serial port."""
    arch: str = "x86_64"
    extra: tuple[str, ...] = ()
    """Further arguments, for QEMU as they are."""


def vfio_user(
    name: str, socket: str, *, slot: str = DEVICE_SLOT, dma: bool = True, properties: Mapping[str, Any] | None = None
) -> Device:
    """A device that a server provides at ``socket``, one of the worker's or a path from /; its id is ``name``.

    ``dma``: it reaches into guest memory, which is then shared with the server (costs 0.05 s of a boot, since shared
    memory has no huge pages). ``properties`` are further ones, over those set here. Source: QEMU's hw/vfio-user/pci.c.
    """
    ours = {
        "id": name,
        "addr": slot,
        "socket": {"type": "unix", "path": socket if socket.startswith("/") else f"{{socket:{socket}}}"},
        "x-msg-timeout": MESSAGE_TIMEOUT_MS,
    }
    return Device("vfio-user-pci", {**ours, **(properties or {})}, shares_memory=dma)


def vfio_pci(name: str, *, slot: str = DEVICE_SLOT, **properties: Any) -> Device:
    """A device of the host's kernel: ``host="0000:00:05.0"`` or ``sysfsdev=...``; underscores stand for hyphens."""
    named = {key.replace("_", "-"): value for key, value in properties.items()}
    return Device("vfio-pci", {"id": name, "addr": slot, **named})


def command_line(*words: str, arch: str = "x86_64") -> str:
    """A kernel's command line: messages on the serial port, a panic ends QEMU at once, a quick boot, then ``words``."""
    return " ".join((f"console={_SERIAL_CONSOLE.get(arch, 'ttyS0')}", "panic=-1", *_QUICK.get(arch, ()), *words))


def streams(vm: Vm) -> tuple[str, ...]:
    """The names of the streams that the arguments speak of."""
    return (SERIAL, AGENT, SHELL, QMP) if vm.virtio_serial else (SERIAL, QMP)


def by_descriptor(name: str) -> str:
    """A stream as an inherited, connected socket; for a worker's child."""
    return f"socket,id={name},fd={{stream:{name}}}"


def by_pipes(name: str) -> str:
    """A stream as a pair of inherited pipes. They join the writes of single bytes of which an emulated UART makes its
    output, where a socket is full after some hundreds: then the guest's kernel gives up on its UART, and bytes are
    lost.
    """
    return f"file,id={name},path=/proc/self/fd/{{said:{name}}},input-path=/proc/self/fd/{{told:{name}}}"


def takes_pipes(qemu: Qemu) -> bool:
    """Whether this QEMU takes a pair of pipes: ``input-path`` of its file chardev is there from 8.1 on."""
    return tuple(int(number) for number in re.findall(r"\d+", qemu.version)[:2]) >= (8, 1)


def guest_argv(qemu: Qemu, accelerator: Accelerator, vm: Vm, chardev: Chardev = by_descriptor) -> tuple[str, ...]:
    """The whole command that runs ``vm``. Raises Unusable when this QEMU has no such machine or device."""
    _check(qemu, vm)
    argv = [
        *qemu.command,
        *("-name", "passthru", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *_machine(vm),
        *accelerator.args,
        *("-kernel", str(vm.kernel)),
        *(("-initrd", str(vm.initrd)) if vm.initrd else ()),
        *("-append", vm.cmdline),
    ]
    for name in streams(vm):
        argv += ["-chardev", chardev(name)]
    argv += ["-qmp", f"chardev:{QMP}", "-serial", f"chardev:{SERIAL}"]
    for device in (*_own_devices(qemu, vm), *vm.devices):
        argv += ["-device", device.as_argument()]
    return (*argv, *vm.extra)


def _machine(vm: Vm) -> list[str]:
    size = f"{vm.memory_mib}M"
    words = ["-smp", str(vm.cpus), "-m", size]
    if any(device.shares_memory for device in vm.devices):
        backend = f"memory-backend-memfd,id=ram,size={size},share=on"
        return ["-machine", f"{vm.machine},memory-backend=ram", "-object", backend, *words]
    return ["-machine", vm.machine, *words]


def _own_devices(qemu: Qemu, vm: Vm) -> list[Device]:
    devices = []
    if vm.virtio_serial:
        # 31 ports are the default, and a guest would set up a pair of queues for each.
        bus = {"id": "lines", "addr": VIRTIO_SERIAL_SLOT, "max_ports": 2}
        devices.append(Device("virtio-serial-pci", bus))
        devices.append(Device("virtconsole", {"chardev": SHELL, "bus": "lines.0", "nr": 0}))
        agent = {"chardev": AGENT, "bus": "lines.0", "nr": 1, "name": AGENT_PORT}
        devices.append(Device("virtserialport", agent))
    # Tells of a panic over QMP, where the guest has the driver; on the ISA bus it is not seen among the PCI devices.
    if vm.machine.startswith(("pc", "q35")) and "pvpanic" in qemu.devices:
        devices.append(Device("pvpanic"))
    return devices


def _check(qemu: Qemu, vm: Vm) -> None:
    if vm.machine.partition(",")[0] not in qemu.machines:
        raise Unusable(f"{qemu.title} has no machine {vm.machine}; name another machine, or another QEMU with --qemu")
    missing = qemu.missing([device.driver for device in vm.devices])
    if missing:
        raise Unusable(f"{qemu.title} has no {' and no '.join(missing)}; name another QEMU with --qemu")
