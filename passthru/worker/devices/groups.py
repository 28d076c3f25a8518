# SPDX-License-Identifier: GPL-2.0-or-later
"""IOMMU groups: what is given away together, whatever buses it is on."""

from __future__ import annotations

from passthru.worker.devices.steps import directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System

_GROUPS = "/sys/kernel/iommu_groups"


def group_of(system: System, bus: str, name: str) -> str | None:
    """The number of a device's IOMMU group; None where no IOMMU translates for it, or none was asked yet."""
    return system.link(f"{directory(bus, name)}/iommu_group")


def members(system: System, group: str) -> list[tuple[str, str]]:
    """The devices of a group, each with its bus ("" for one that is on none)."""
    devices = f"{_GROUPS}/{group}/devices"
    return [(system.link(f"{devices}/{name}/subsystem") or "", name) for name in system.names(devices)]


def of_vfio(driver: str | None) -> bool:
    """Whether a driver gives its devices to programs: VFIO's own, and those for one kind of card."""
    return driver is not None and (driver.startswith("vfio") or driver.endswith("-vfio-pci"))
