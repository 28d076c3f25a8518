# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's machine needs for a DPAA2 container of the host: one of two ways.

A QEMU that has vfio-fsl-mc takes it as a device. Upstream's has none; then a process of ours stands between
(`passthru.emulation.fsl_mc_bridge`), and the machine, an unmodified ``virt`` with a GICv3 and its ITS, needs RAM that
is a file, a qtest socket, and a device tree that says where the container is. A machine has one such place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.emulation.fsl_mc_bridge.places import CONTROL_SIZE, PORTALS_SIZE, QUEUES_SIZE
from passthru.qemu.fragments import Fragment
from passthru.qemu.shared_ram import RAM_BASE

if TYPE_CHECKING:
    from passthru.qemu.binary import Qemu

DRIVER = "vfio-fsl-mc"
"""QEMU's name of the device, where it has one; it takes ``host`` (argv.vfio_on_chip)."""
MACHINE = "virt"
"""The guest's machine, which alone has what the process needs."""
MODULE = "passthru.emulation.fsl_mc_bridge"
"""What the process is."""
FRAGMENT = "guest-fsl-mc"
_ALL = PORTALS_SIZE + QUEUES_SIZE + CONTROL_SIZE
_ALIGNMENT = 64 << 20  # of the portals: Linux takes their base from the address of the first one, less its low 26 bits
LEAST_MIB = 2 * _ALIGNMENT >> 20
"""A guest with less RAM has no room for the windows beside what it boots from."""


def takes_containers(qemu: Qemu) -> bool:
    """Whether this QEMU has a device for containers, so that nothing else is needed."""
    return not qemu.missing([DRIVER])


@dataclass(frozen=True)
class Windows:
    """Physical addresses in the guest's RAM, one behind the other; sizes are those of `fsl_mc_bridge.places`."""

    portals: int
    queues: int
    control: int

    @property
    def fragment(self) -> Fragment:
        """What is added to the guest's device tree."""
        values = {
            "portals": f"{self.portals:x}",
            "queues": f"{self.queues:x}",
            "control": f"{self.control:x}",
            "control_size": f"{CONTROL_SIZE:#x}",
            "portals_size": f"{PORTALS_SIZE:#x}",
            "queues_size": f"{QUEUES_SIZE:#x}",
            "size": f"{_ALL:#x}",
        }
        return Fragment(FRAGMENT, values)


def windows(memory_mib: int) -> Windows:
    """Where the windows are in a guest of so much RAM: as high up as the portals may be."""
    if memory_mib < LEAST_MIB:
        raise ValueError(f"{memory_mib} MiB of RAM leave no room for a container's windows; {LEAST_MIB} do")
    end = RAM_BASE + (memory_mib << 20)
    portals = (end - _ALL) // _ALIGNMENT * _ALIGNMENT
    queues = portals + PORTALS_SIZE
    return Windows(portals, queues, queues + QUEUES_SIZE)


def qtest_arguments(qtest: str) -> tuple[str, ...]:
    """What the guest's QEMU needs beside its RAM and device tree: the socket by which interrupts come in."""
    return ("-qtest", f"unix:{qtest},server=on,wait=off", "-qtest-log", "none")


def bridge_settings(
    container: str, group: str, ram: str, memory_mib: int, qtest: str, *, iommu: str = "type1", ready: str = ""
) -> str:
    """What the process is told, as JSON (`fsl_mc_bridge.settings`).

    ``container`` is its name on the bus, ``group`` the path of its VFIO group, ``ram`` the path of the guest's RAM and
    ``qtest`` that of the socket; ``ready``, if not empty, the number of a descriptor or a placeholder that becomes one.
    """
    place = windows(memory_mib)
    settings = {
        "ram": {"path": ram, "size": memory_mib << 20, "base": RAM_BASE},
        "qtest": qtest,
        "container": container,
        "group": group,
        "portals": place.portals,
        "queues": place.queues,
        "control": place.control,
        "iommu": iommu,
        **({"ready": ready} if ready else {}),
    }
    text = json.dumps(settings)
    return text.replace(json.dumps(ready), ready) if ready else text  # a number is none in quotes
