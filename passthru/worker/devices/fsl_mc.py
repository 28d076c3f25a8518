# SPDX-License-Identifier: GPL-2.0-or-later
"""DPAA2 containers of the host (``dprc.N`` on the bus fsl-mc): what is given away whole, with all of its objects.

Linux shows the objects of a container as its children once a driver has it: fsl_mc_dprc for the host's own use, or
vfio-fsl-mc, which takes the objects along. Source: drivers/bus/fsl-mc, drivers/vfio/fsl-mc.
"""

from __future__ import annotations

from passthru.worker.devices.buses import DRIVERS, FSL_MC
from passthru.worker.devices.groups import group_of, of_vfio
from passthru.worker.devices.steps import BUSES, StepError, directory, driver_of, objects_of
from passthru.worker.devices.trouble import mistake, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.journal import Step
    from passthru.worker.devices.system import System
    from passthru.worker.devices.trouble import Blocked

_CONTAINER = "dprc."


def choose(system: System, host: str) -> str:
    """The container that ``host`` means. Raises Blocked: there is none, it is an object in one, or the root."""
    name = host.strip().lower()
    there = system.names(f"{BUSES}/{FSL_MC}/devices")
    if name not in there:
        raise mistake(f"there is no container {host!r} on the bus fsl-mc of this host", _listed(system, there))
    if not name.startswith(_CONTAINER):
        container = parent(system, name)
        fix = f'say "{container}"' if container and parent(system, container) else "move it to a container of its own"
        raise mistake(f"{name} is an object of {container}, and containers are given away whole", fix)
    if parent(system, name) is None:
        raise mistake(
            f"{name} is the root container, by which the host's kernel drives all others", _listed(system, there)
        )
    return name


def _listed(system: System, there: list[str]) -> str:
    names = [name for name in there if name.startswith(_CONTAINER) and parent(system, name)]
    if names:
        return f"it has {', '.join(names)}"
    return "it has no container but the root; make one (restool dprc create)" if there else "that bus has no devices"


def parent(system: System, name: str) -> str | None:
    """The container that an object or container is in; None for the root."""
    above = system.real(directory(FSL_MC, name)).split("/")[-2]
    return above if above in system.names(f"{BUSES}/{FSL_MC}/devices") else None


def root(system: System, name: str) -> str:
    """The root container above a container."""
    while above := parent(system, name):
        name = above
    return name


def group_trouble(system: System, name: str) -> Iterator[Blocked]:
    """Without an IOMMU group, binding to vfio-fsl-mc crashes the kernel (6.12), so it is never tried.

    A container that had no driver yet has no group before one is tried on it; the root always has a driver.
    """
    if group_of(system, FSL_MC, name) is not None:
        return
    asked = name if driver_of(system, name, FSL_MC) is not None else root(system, name)
    if group_of(system, FSL_MC, asked) is None:
        yield unusable(
            f"no IOMMU translates for {asked}: it has no IOMMU group, and the kernel may crash when vfio-fsl-mc gets"
            " such a container",
            'give its fsl-mc node an iommu-map and the bus above that dma-ranges (in a rig: host.iommu = "ram-smmuv2")',
        )


def inner_trouble(system: System, name: str) -> Iterator[Blocked]:
    """Containers in this one that a guest has: taking away the outer one would wait for him without end."""
    for inner in objects_of(system, name):
        if inner.startswith(_CONTAINER):
            if of_vfio(driver := driver_of(system, inner, FSL_MC)):
                yield mistake(
                    f"{inner}, a container in {name}, is given away already (driver {driver})",
                    "end its guest, or `passthru unbind` it first",
                )
            else:
                yield from inner_trouble(system, inner)


def remember_objects(system: System, name: str) -> Iterator[Step]:
    """The step that keeps what drivers and overrides the objects have: their devices are made anew."""
    if objects := objects_of(system, name):
        yield {"kind": "objects", "target": name, "bus": FSL_MC, "before": objects, "after": "taken along"}


def taken_along(system: System, name: str) -> list[str]:
    """The objects that went to vfio-fsl-mc with their container. Raises StepError where one did not."""
    objects = objects_of(system, name)
    for inner, (driver, _) in objects.items():
        if driver != DRIVERS[FSL_MC]:
            raise StepError(
                f"{inner} did not go to {DRIVERS[FSL_MC]} with its container {name}: its driver is {driver or 'none'};"
                " the kernel's log (dmesg) may say why"
            )
    return list(objects)
