# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices without an IOMMU: VFIO gives them away where it is told to, by groups of its own, /dev/vfio/noiommu-N.

Nothing keeps such a device from any memory of the host's, so no guest gets one: it is for programs that drive devices
from user space, and for the conformance suite. Source: drivers/vfio/group.c (vfio_group_find_or_alloc,
vfio_noiommu_group_alloc), the parameter ``enable_unsafe_noiommu_mode`` of drivers/vfio/vfio_main.c.
"""

from __future__ import annotations

from passthru.worker.devices import pci
from passthru.worker.devices.iommu import NOIOMMU, VFIOS_OWN, capable, module_trouble, needed_modules
from passthru.worker.devices.modules import loaded
from passthru.worker.devices.trouble import Blocked, missing, mistake, unusable
from passthru.worker.devices.usage import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.ledger import Ledger
    from passthru.worker.devices.system import System

PARAMETER = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_CAP_SYS_RAWIO = 17  # <linux/capability.h>


def host_trouble(system: System) -> Iterator[Blocked]:
    """What stands in the way of any device without an IOMMU on this host."""
    yield from module_trouble(system, needed_modules("pci", NOIOMMU))
    if loaded(system, "vfio") and not system.exists(PARAMETER):
        yield _not_built(system)
    if not capable(system, _CAP_SYS_RAWIO):
        yield unusable(
            "only a user with CAP_SYS_RAWIO may open a device that no IOMMU keeps from the host's memory",
            "run passthru as root",
        )


def device_trouble(system: System, address: str, group: str | None) -> Iterator[Blocked]:
    """A device that an IOMMU translates for is never given away without it, and none that the host uses."""
    if group is not None and not is_noiommu(system, group):
        yield mistake(
            f"an IOMMU translates for {address} (IOMMU group {group}), and VFIO never gives such a device away"
            " without it",
            'take container = "type1" or "iommufd", or in a rig host.iommu = "none"',
        )
    elif used := uses(system, address):
        yield mistake(
            f"{pci.describe(system, address)} is in use by the host: {'; '.join(used)}",
            "free it first, or choose another device",
        )


def allow(ledger: Ledger) -> None:
    """Tell VFIO to give devices away without an IOMMU, until the worker ends. Raises Blocked, StepError."""
    system = ledger.system
    if not system.exists(PARAMETER):
        raise _not_built(system)
    if system.read(PARAMETER) == "N":
        common = {"owner": "", "resource": ""}
        ledger.do({"kind": "parameter", "target": PARAMETER, "before": "N", "after": "Y", **common})


def is_noiommu(system: System, group: str) -> bool:
    """Whether VFIO made an IOMMU group for a device that has none."""
    return system.read(f"/sys/kernel/iommu_groups/{group}/name") == VFIOS_OWN


def device_file(system: System, group: str) -> str:
    """The name of a group in /dev/vfio."""
    return f"noiommu-{group}" if is_noiommu(system, group) else group


def _not_built(system: System) -> Blocked:
    return missing(
        NOIOMMU,
        f"the host's kernel {system.release} gives no device away without an IOMMU (CONFIG_VFIO_NOIOMMU)",
        'take container = "type1", or in a rig host.kernel = "own"',
    )
