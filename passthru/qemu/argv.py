# SPDX-License-Identifier: GPL-2.0-or-later
"""From a description of a VM (a guest, or a rig) to QEMU's arguments; nothing is started here, and nothing looked up.

Consoles, ports and QMP are socket pairs, written ``{stream:NAME}``; device servers are UNIX sockets, written
``{socket:NAME}``: the worker that starts QEMU puts descriptors and paths there. ``passthru.qemu.script`` writes the
same VM for a shell.

Figures behind the defaults: x86-64 under TCG, a Debian 6.1 cloud kernel, to the first line of /init, least of eight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
IOMMUFD = "iommufd0"
"""The id of the object that all devices with ``iommufd`` share."""

# A server that answers too late is dead to QEMU for good (facts: x-msg-timeout), and the machine may be slow.
MESSAGE_TIMEOUT_MS = 60_000

_SERIAL_CONSOLE = {"x86_64": "ttyS0", "i386": "ttyS0", "aarch64": "ttyAMA0", "arm": "ttyAMA0"}

# The crypto layer tests itself at each boot (0.2 s; AArch64 has more of it: 0.4 s), and a kernel on one processor
# rewrites all its locks (0.08 s). Neither is judged; a kernel that knows a word no more ignores it.
_QUICK = {"x86_64": ("cryptomgr.notests", "noreplace-smp"), "aarch64": ("cryptomgr.notests",)}

Chardev = Callable[[str], str]
"""From a stream's name to the value of -chardev that carries it; its id is the name."""


@dataclass(frozen=True)
class Device:
    """One ``-device``; ``properties`` are QEMU's own, nested ones as mappings."""

    driver: str
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    shares_memory: bool = False
    """Whether another process reads and writes the guest's memory for it."""
    backends: tuple[tuple[str, str], ...] = ()
    """Options that stand before it, with their values: ("-netdev", "user,id=a"). What several devices name is one."""
    streams: tuple[str, ...] = ()
    """Streams that it speaks of, each a chardev of that id."""
    since: Mapping[tuple[int, int], Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    """Further properties, by the version of QEMU that has them first."""

    def of_version(self, version: tuple[int, ...]) -> Device:
        """The device as a QEMU of this version takes it."""
        newer = {name: value for first, more in self.since.items() if version >= first for name, value in more.items()}
        return replace(self, properties={**self.properties, **newer})

    def as_argument(self, *, as_json: bool = False) -> str:
        """The value of -device: JSON where a property is nested (from QEMU 6.2 on), else the form of all versions."""
        if as_json or any(isinstance(value, Mapping | list) for value in self.properties.values()):
            return json.dumps({"driver": self.driver, **self.properties})
        return ",".join((self.driver, *(f"{name}={plain(value)}" for name, value in self.properties.items())))


def plain(value: object) -> str:
    """A value in the form of options that all versions read: NAME=VALUE, between commas."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(",", ",,")


@dataclass(frozen=True)
class Line:
    """A stream over virtio: a port with a name, or a console where ``port`` is empty."""

    stream: str
    port: str = ""
    """Its name in the VM: /dev/virtio-ports/NAME, /sys/class/virtio-ports/*/name."""
    title: str = ""
    """What it is, for a person."""


GUEST_LINES = (Line(AGENT, AGENT_PORT, "the agent's port"), Line(SHELL, title="the virtio console"))


@dataclass(frozen=True)
class Vm:
    """A VM: a guest's machine, or a rig's."""

    kernel: Path
    initrd: Path | None
    cmdline: str
    """The kernel's whole command line; see ``command_line``."""
    machine: str = "pc"
    memory_mib: int = 256
    cpus: int = 1
    devices: tuple[Device, ...] = ()
    lines: tuple[Line, ...] = GUEST_LINES
    """Streams over virtio, beside the serial port; at most one is a console."""
    lines_slot: str = VIRTIO_SERIAL_SLOT
    arch: str = "x86_64"
    extra: tuple[str, ...] = ()
    """Further arguments, for QEMU as they are."""
    serials: tuple[str, ...] = ()
    """Streams of the serial ports after the first one, as far as the machine has them."""
    tree: Path | None = None
    """The device tree, where it is not QEMU's own."""
    ram: str = ""
    """The file that is its RAM, which others may map; made where it is not there."""


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


def vfio_pci(
    name: str,
    *,
    host: str = "",
    sysfsdev: str = "",
    slot: str = DEVICE_SLOT,
    iommufd: bool = False,
    properties: Mapping[str, Any] | None = None,
) -> Device:
    """A device of the host's kernel, by its PCI address (``host``) or its directory (``sysfsdev``, an mdev).

    ``iommufd``: by way of /dev/iommu and the device's own node, not of its group. ``properties`` are further ones, over
    those set here. Source: QEMU's hw/vfio/pci.c.
    """
    if bool(host) == bool(sysfsdev):
        raise ValueError("a device of the host's kernel is named by host or by sysfsdev, one of them")
    where = {"host": host} if host else {"sysfsdev": sysfsdev}
    through = {"iommufd": IOMMUFD} if iommufd else {}
    backends = (("-object", f"iommufd,id={IOMMUFD}"),) if iommufd else ()
    return Device("vfio-pci", {"id": name, "addr": slot, **where, **through, **(properties or {})}, backends=backends)


def vfio_on_chip(
    kind: str,
    name: str,
    *,
    host: str = "",
    sysfsdev: str = "",
    iommufd: bool = False,
    properties: Mapping[str, Any] | None = None,
) -> Device:
    """A device of the host's kernel that is on no PCI bus in the guest: ``kind`` is QEMU's ``vfio-platform``, or like.

    The rest is as for ``vfio_pci``. Source: QEMU's hw/vfio/platform.c.
    """
    device = vfio_pci(name, host=host, sysfsdev=sysfsdev, iommufd=iommufd, properties=properties)
    without_slot = {key: value for key, value in device.properties.items() if key != "addr"}
    return Device(kind, without_slot, backends=device.backends)


def command_line(*words: str, arch: str = "x86_64") -> str:
    """A kernel's command line: messages on the serial port, a panic ends QEMU at once, a quick boot, then ``words``."""
    return " ".join((f"console={_SERIAL_CONSOLE.get(arch, 'ttyS0')}", "panic=-1", *_QUICK.get(arch, ()), *words))


def streams(vm: Vm) -> tuple[str, ...]:
    """The names of the streams that the arguments speak of."""
    lines = (line.stream for line in vm.lines)
    return (SERIAL, *lines, QMP, *vm.serials, *(name for device in vm.devices for name in device.streams))


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
    return _version(qemu) >= (8, 1)


def takes_json(qemu: Qemu) -> bool:
    """Whether this QEMU takes ``-device`` as JSON: from 6.2 on."""
    return _version(qemu) >= (6, 2)


def takes_iommufd(qemu: Qemu) -> bool:
    """Whether this QEMU's vfio-pci takes ``iommufd``: from 9.0 on, where it was built with it."""
    return _version(qemu) >= (9, 0)


def _version(qemu: Qemu) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", qemu.version)[:2])


def guest_argv(qemu: Qemu, accelerator: Accelerator, vm: Vm, chardev: Chardev = by_descriptor) -> tuple[str, ...]:
    """The whole command that runs ``vm``. Raises Unusable when this QEMU has no such machine or device."""
    _check(qemu, vm)
    argv = [
        *qemu.command,
        *("-name", "passthru", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *machine_words(vm),
        *accelerator.args,
        *("-kernel", str(vm.kernel)),
        *(("-initrd", str(vm.initrd)) if vm.initrd else ()),
        *(("-dtb", str(vm.tree)) if vm.tree else ()),
        *("-append", vm.cmdline),
    ]
    for name in streams(vm):
        argv += ["-chardev", chardev(name)]
    argv += ["-qmp", f"chardev:{QMP}"]
    for name in (SERIAL, *vm.serials):
        argv += ["-serial", f"chardev:{name}"]
    for option, value in dict.fromkeys(backend for device in vm.devices for backend in device.backends):
        argv += [option, value]
    for device in _own_devices(qemu, vm):
        argv += ["-device", device.as_argument()]
    for device in (device.of_version(_version(qemu)) for device in vm.devices):
        # What can be plugged in again is: from JSON, as QMP takes it.
        argv += ["-device", device.as_argument(as_json="id" in device.properties and takes_json(qemu))]
    return (*argv, *vm.extra)


def machine_words(vm: Vm, *options: str) -> list[str]:
    """The arguments for the machine, its RAM and its processors; ``options`` are further ones of ``-machine``."""
    size = f"{vm.memory_mib}M"
    backend = ""
    if vm.ram:
        backend = f"memory-backend-file,id=ram,size={size},mem-path={plain(vm.ram)},share=on"
    elif any(device.shares_memory for device in vm.devices):
        backend = f"memory-backend-memfd,id=ram,size={size},share=on"
    machine = ",".join((vm.machine, *options, *(("memory-backend=ram",) if backend else ())))
    return ["-machine", machine, *(("-object", backend) if backend else ()), "-smp", str(vm.cpus), "-m", size]


def _own_devices(qemu: Qemu, vm: Vm) -> list[Device]:
    devices = []
    if vm.lines:
        # 31 ports are the default, and a guest would set up a pair of queues for each. Number 0 is for a console alone.
        bus = {"id": "lines", "addr": vm.lines_slot, "max_ports": len(vm.lines) + all(line.port for line in vm.lines)}
        devices.append(Device("virtio-serial-pci", bus))
        consoles, ports = ([line for line in vm.lines if bool(line.port) is named] for named in (False, True))
        for number, line in (*enumerate(consoles), *enumerate(ports, 1)):
            named = {"name": line.port} if line.port else {}
            end = {"chardev": line.stream, "bus": "lines.0", "nr": number, **named}
            devices.append(Device("virtserialport" if line.port else "virtconsole", end))
    # Tells of a panic over QMP, where the guest has the driver; on the ISA bus it is not seen among the PCI devices.
    if vm.machine.startswith(("pc", "q35")) and "pvpanic" in qemu.devices:
        devices.append(Device("pvpanic"))
    return devices


def _check(qemu: Qemu, vm: Vm) -> None:
    if vm.machine.partition(",")[0] not in qemu.machines:
        raise Unusable(f"{qemu.title} has no machine {vm.machine}; name another machine, or another QEMU with --qemu")
    missing = qemu.missing([device.driver for device in vm.devices])
    if not missing and any("iommufd" in device.properties for device in vm.devices) and not takes_iommufd(qemu):
        missing = ["iommufd"]
    if missing:
        raise Unusable(f"{qemu.title} has no {' and no '.join(missing)}; name another QEMU with --qemu")
