# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host itself uses a device for: its disks, its network, its console. Such a device is not given away."""

from __future__ import annotations

import os

from passthru.worker.devices.steps import PCI, directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System

_UP = 1  # IFF_UP of <linux/if.h>
_ANYWHERE = "00000000"
_LINK_LOCAL = "fe80"


def uses(system: System, address: str, bus: str = "pci") -> list[str]:
    """What the host uses the device for, in words ("the disk vda is mounted at /"); nothing: it is free."""
    below = system.real(directory(bus, address)) + "/"
    return [
        *_disks(system, _below(system, "block", below)),
        *_networks(system, _below(system, "net", below)),
        *_consoles(system, address, below),
    ]


def _below(system: System, kind: str, directory: str) -> list[str]:
    """The names of the class's devices that lie under a device."""
    # The link says where it is, from /sys/class/KIND: no need to follow 60 of them.
    found = []
    for name in system.names(f"/sys/class/{kind}"):
        target = system.target(f"/sys/class/{kind}/{name}")
        if target and os.path.normpath(f"/sys/class/{kind}/{target}").startswith(directory):
            found.append(name)
    return found


def _disks(system: System, disks: list[str]) -> list[str]:
    if not disks:
        return []
    used = _mounted(system)
    found = []
    for disk in disks:
        reason = used.get(system.read(f"/sys/class/block/{disk}/dev") or "")
        if reason is None and (above := system.names(f"/sys/class/block/{disk}/holders")):
            reason = f"belongs to {', '.join(above)}"
        if reason is None and system.claimed(f"/dev/{disk}"):
            reason = "is mounted or otherwise in use"
        if reason:
            found.append(f"the disk {disk} {reason}")
    return found


def _mounted(system: System) -> dict[str, str]:
    """What is mounted or swapped to, by "major:minor"."""
    used: dict[str, str] = {}
    for line in (system.read("/proc/self/mountinfo") or "").splitlines():
        fields = line.split()
        used.setdefault(fields[2], f"is mounted at {fields[4]}")
        # btrfs and overlayfs show a number of their own; the source tells.
        source = fields[fields.index("-") + 2] if "-" in fields else ""
        if source.startswith("/dev/") and (number := _number(system, source)):
            used.setdefault(number, f"is mounted at {fields[4]}")
    for line in (system.read("/proc/swaps") or "").splitlines()[1:]:
        if number := _number(system, line.split()[0]):
            used[number] = "holds swap space"
    return used


def _number(system: System, path: str) -> str | None:
    return system.read(f"/sys/class/block/{system.real(path).rpartition('/')[2]}/dev")


def _networks(system: System, interfaces: list[str]) -> list[str]:
    if not interfaces:
        return []
    routes: dict[str, str] = {}
    for line in (system.read("/proc/net/route") or "").splitlines()[1:]:
        name, destination = line.split()[:2]
        if destination == _ANYWHERE or name not in routes:
            routes[name] = "the default route" if destination == _ANYWHERE else "an address"
    for line in (system.read("/proc/net/if_inet6") or "").splitlines():
        fields = line.split()
        if not fields[0].startswith(_LINK_LOCAL):
            routes.setdefault(fields[5], "an address")
    found = []
    for name in interfaces:
        flags = int(system.read(f"/sys/class/net/{name}/flags") or "0", 16)
        above = [link[6:] for link in system.names(f"/sys/class/net/{name}") if link.startswith("upper_")]
        if flags & _UP and (has := f"has {routes[name]}" if name in routes else above and f"is part of {above[0]}"):
            found.append(f"the network interface {name} is up and {has}")
    return found


def _consoles(system: System, address: str, below: str) -> list[str]:
    found = []
    if ports := _below(system, "virtio-ports", below):
        found.append(
            f"it carries the port{'s' * (len(ports) > 1)} {', '.join(ports)}, by which this host may be driven"
        )
    consoles = [line.split()[0] for line in (system.read("/proc/consoles") or "").splitlines() if line]
    if any(name.startswith("tty") for name in consoles):
        found += [f"{name} is a console of the kernel" for name in _below(system, "tty", below) if name in consoles]
    if "tty0" in consoles and system.read(f"{PCI}/{address}/boot_vga") == "1":
        screens = _below(system, "graphics", below)
        found += [f"the screen {name} is the console" for name in screens]
    return found
