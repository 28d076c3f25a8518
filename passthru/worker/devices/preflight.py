# SPDX-License-Identifier: GPL-2.0-or-later
"""All that stands in the way of a run's assignments, found before anything is touched."""

from __future__ import annotations

from passthru.worker.devices import assign_on_chip, assign_pci, mdev, pci
from passthru.worker.devices.buses import DRIVERS, ON_CHIP
from passthru.worker.devices.iommu import IOMMUFD, TYPE1, can_lock, present, remapped
from passthru.worker.devices.modules import closure
from passthru.worker.devices.recovery import dead_steps
from passthru.worker.devices.trouble import Blocked, mistake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.system import System
    from passthru.worker.devices.trouble import Blocker
    from passthru.worker.stream import Message


def blockers(system: System, wanted: list[Message], memory: int, kind: str, ours: set[str]) -> list[Blocker]:
    """Each with the assignment it is about, None for what is of the whole host and told once."""
    found: list[Blocker] = []
    told: dict[str, Blocker] = {}
    taken: dict[str, int] = {}
    for one in wanted:
        if one["bus"] == "mdev":
            troubles = mdev.trouble(system, one, taken)
        elif one["bus"] in ON_CHIP:
            troubles = assign_on_chip.trouble(system, one, memory, kind, ours)
        else:
            troubles = assign_pci.trouble(system, one, memory, kind, ours)
        for error in troubles:
            blocker = error.blocker
            if blocker.what in told:
                told[blocker.what].device = None
                continue
            blocker.device = one["name"]
            told[blocker.what] = blocker
            found.append(blocker)
    for name, error in _twice(system, wanted):
        error.blocker.device = name
        found.append(error.blocker)
    return found


def _twice(system: System, wanted: list[Message]) -> Iterator[tuple[str, Blocked]]:
    """Assignments of the same thing."""
    first: dict[tuple[object, ...], str] = {}
    for one in wanted:
        try:
            if one["bus"] == "pci":
                what: tuple[object, ...] = (pci.choose(system, one["host"]), one.get("vf"))
            elif one["bus"] in ON_CHIP:
                what = (assign_on_chip.choose(system, one["bus"], one["host"]), None)
            elif one.get("uuid"):
                what = (mdev.checked_uuid(one["uuid"]), None)
            else:
                continue
        except Blocked:
            continue
        if what in first:
            yield (
                one["name"],
                mistake(f"{what[0]} is assigned twice, as {first[what]} and {one['name']}", "drop one of them"),
            )
        first.setdefault(what, one["name"])


def _drivers(system: System) -> list[str]:
    """VFIO's drivers for the buses that this host has; a platform bus is everywhere, and counts with a device tree."""
    has_tree = system.exists("/sys/firmware/devicetree/base")
    return [
        driver
        for bus, driver in DRIVERS.items()
        if bus == "pci" or (has_tree and system.names(f"/sys/bus/{bus}/devices"))
    ]


def facts(system: System) -> Message:
    """What `passthru doctor` tells of a host."""
    return {
        "iommus": system.names("/sys/class/iommu"),
        "groups": len(system.names("/sys/kernel/iommu_groups")),
        "interrupt_remapping": remapped(system),
        "modules": {
            name: present(system, name) or closure(system, name) is not None
            for name in (*_drivers(system), "vfio_iommu_type1", "iommufd", "mdev")
        },
        "containers": [
            name for name, path in ((TYPE1, "/dev/vfio/vfio"), (IOMMUFD, "/dev/iommu")) if system.exists(path)
        ],
        "can_lock_memory": can_lock(system),
        "mdev_parents": system.names("/sys/class/mdev_bus"),
        "left_by_killed_workers": dead_steps(system),
        "state": system.state,
    }
