# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree of a run's guest, where it has devices that are on no PCI bus: QEMU's own does not tell of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from passthru.errors import MissingCapability, UserMistake
from passthru.qemu import accelerator as accelerators
from passthru.qemu.argv import Vm
from passthru.qemu.boards import VIRT_GUEST, guest_machine
from passthru.qemu.device_tree import GUESTS, device_tree
from passthru.qemu.elsewhere import twin_of
from passthru.qemu.guest_fsl_mc import windows
from passthru.qemu.guest_platform import DRIVER, NODES, Node, places
from passthru.scenario.hosts import RigHost
from passthru.scenario.passed_through import MdevDevice, PlatformDevice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from passthru.qemu.binary import Qemu
    from passthru.qemu.guest_platform import Place
    from passthru.scenario.models import DeviceSpec, Scenario

NAME = "guest-tree"
"""The file's name in a rig."""


@dataclass(frozen=True)
class GuestTree:
    """A tree, and where the guest finds the devices that it tells of."""

    path: Path
    places: Mapping[str, Place] = field(default_factory=dict)


def on_platform(device: DeviceSpec) -> bool:
    """Whether the guest finds the device on its platform bus: a mediated device does where its node is named."""
    return isinstance(device, PlatformDevice) or (isinstance(device, MdevDevice) and bool(device.node))


def nodes_of(scenario: Scenario) -> dict[str, Node]:
    """What the guest's tree is to say of each device on its platform bus. Raises UserMistake."""
    return {
        name: _node(name, device, scenario)
        for name, device in scenario.passed_through.items()
        if isinstance(device, PlatformDevice | MdevDevice) and on_platform(device)
    }


def guest_tree(
    scenario: Scenario, qemu: Qemu, kernel: Kernel, store: Store, tell: Tell, *, container: bool = False
) -> GuestTree | None:
    """The tree for the guest of ``scenario`` on ``qemu``; None where QEMU's own does.

    ``container``: it has windows for one. It is asked of a QEMU that this machine can start. Blocks. Raises
    UserMistake, Unusable; MissingCapability where this QEMU has no platform devices for guests.
    """
    nodes = nodes_of(scenario)
    if not nodes and not container:
        return None
    if nodes and scenario.guest.machine != VIRT_GUEST:
        raise UserMistake(
            f"device.{next(iter(nodes))} is for a guest's platform bus, and the guest's machine is "
            f'"{scenario.guest.machine}", which has none; take a rig with host.arch = "arm64"'
        )
    if nodes and qemu.missing([DRIVER]):
        raise MissingCapability(
            DRIVER,
            f"{qemu.title} has no {DRIVER}, which QEMU had up to 10.1; take debian:bookworm or debian:trixie as "
            "guest.qemu",
        )
    found = places(nodes)
    guest = scenario.guest
    # A processor of KVM's has no counters of events that the tree may promise.
    accelerator = accelerators.tcg(arch=qemu.arch)
    *others, model = accelerator.args
    accelerator = replace(accelerator, args=(*others, f"{model},pmu=off"))
    vm = Vm(
        kernel=kernel.image,
        initrd=None,
        cmdline="",
        machine=guest_machine(guest.machine),
        memory_mib=guest.memory,
        cpus=guest.cpus,
        arch=qemu.arch,
    )
    fragments = [place.fragment for place in found.values()]
    if container:
        fragments.append(windows(guest.memory).fragment)
    tree = device_tree(twin_of(qemu, store, tell), accelerator, vm, fragments, store, tell, whose=GUESTS)
    return GuestTree(tree, found)


def _node(name: str, device: PlatformDevice | MdevDevice, scenario: Scenario) -> Node:
    if device.node:
        return Node(device.node, device.regions, device.interrupts)
    host = scenario.host
    hardware = (
        host.hardware.get(device.host) if isinstance(host, RigHost) and isinstance(device, PlatformDevice) else None
    )
    if hardware is None or hardware.what not in NODES:
        raise UserMistake(
            f"nobody knows what the guest's device tree is to say of device.{name}, which is no hardware of the rig; "
            f'name a fragment that does as device.{name}.node ("./mine.dtsi")'
        )
    return NODES[hardware.what]
