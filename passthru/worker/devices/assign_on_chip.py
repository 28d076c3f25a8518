# SPDX-License-Identifier: GPL-2.0-or-later
"""Platform devices, AMBA devices and DPAA2 containers made ready: what stands in the way, the steps, what QEMU is told.

Each is bound to its bus's VFIO driver by driver_override and the driver's own ``bind`` file.
"""

from __future__ import annotations

import errno
import os

from passthru.worker.devices import fsl_mc, platform
from passthru.worker.devices.assign_pci import change_driver
from passthru.worker.devices.buses import AMBA, DRIVERS, FSL_MC, PLATFORM
from passthru.worker.devices.groups import group_of, members, of_vfio
from passthru.worker.devices.iommu import (
    NOIOMMU,
    container_trouble,
    interrupts_allowed,
    iommu_trouble,
    memlock_trouble,
    module_trouble,
    needed_modules,
    needs_cdev,
)
from passthru.worker.devices.journal import others
from passthru.worker.devices.loading import load_missing
from passthru.worker.devices.steps import StepError, cdev_of, directory, driver_of, open_path
from passthru.worker.devices.trouble import Blocked, mistake, unusable
from passthru.worker.devices.usage import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.ledger import Ledger
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message

_CONSOLE = "the firmware names it as the console (stdout-path)"


def choose(system: System, bus: str, host: str) -> str:
    """The name on its bus of the device that ``host`` means. Raises Blocked."""
    return fsl_mc.choose(system, host) if bus == FSL_MC else platform.choose(system, bus, host)


def trouble(system: System, wanted: Message, memory: int, kind: str, ours: set[str]) -> Iterator[Blocked]:
    """Everything that stands in the way of an assignment. ``ours`` are devices that this worker prepared already."""
    container = wanted["container"]
    try:
        name = choose(system, wanted["bus"], wanted["host"])
    except Blocked as error:
        yield error
    else:
        yield from device_trouble(system, wanted, name, ours)
    if container == NOIOMMU:
        return
    yield from iommu_trouble(system, kind)
    yield from module_trouble(system, needed_modules(wanted["bus"], container))
    yield from container_trouble(system, container)
    yield from memlock_trouble(system, memory)


def device_trouble(system: System, wanted: Message, name: str, ours: set[str]) -> Iterator[Blocked]:
    """What stands in the way of this device: its group, its use, its driver, its resets and interrupts."""
    bus, container = wanted["bus"], wanted["container"]
    if container == NOIOMMU:
        yield mistake(f"a device of the bus {bus} is not given away without an IOMMU", 'take container = "type1"')
        return
    yield from _translation_trouble(system, bus, name)
    theirs = others(system)
    if name in theirs:
        yield mistake(
            f"{name} is prepared by another passthru, process {theirs[name]}",
            "wait for its end, or choose another device",
        )
    for member_bus, member, driver in moves(system, bus, name):
        with_it = "" if member == name else f", which shares an IOMMU group with {name} and goes with it,"
        if _is_foreign(bus, member_bus):
            yield _foreign(name, member_bus, member)
            continue
        yield from _use_trouble(system, member_bus, member, driver, with_it)
        if member_bus != FSL_MC:
            yield from platform.reset_trouble(system, member_bus, member, wanted.get("reset_required", True))
    if bus == FSL_MC:
        yield from fsl_mc.inner_trouble(system, name)
    elif not interrupts_allowed(system, container, wanted.get("unsafe", False)):
        yield from platform.interrupts_trouble(system, bus, name)
    if name not in ours:
        yield from _open_trouble(system, bus, name)


def moves(system: System, bus: str, name: str) -> list[tuple[str, str, str | None]]:
    """What has to change its driver so that ``name`` can be assigned: (bus, name, driver now), ``name`` first.

    The objects of a container follow it by themselves.
    """
    group = group_of(system, bus, name)
    found = [(bus, name), *(member for member in (members(system, group) if group else ()) if member != (bus, name))]
    changes = []
    for member_bus, member in found:
        driver = driver_of(system, member, member_bus) if member_bus else None
        if of_vfio(driver) or (member_bus == FSL_MC and _is_in(system, member, name)):
            continue
        changes.append((member_bus, member, driver))
    return changes


def _is_foreign(bus: str, member_bus: str) -> bool:
    """Whether what shares a group with a device of ``bus`` cannot be given away with it."""
    return member_bus != bus and not {bus, member_bus} <= {PLATFORM, AMBA}


def _foreign(name: str, member_bus: str, member: str) -> Blocked:
    return unusable(
        f"{name} shares its IOMMU group with {member} of the bus {member_bus or '(none)'}",
        f"unbind that first, or give {name} a stream of its own in the device tree",
    )


def _is_in(system: System, inner: str, container: str) -> bool:
    above = fsl_mc.parent(system, inner)
    return above is not None and (above == container or _is_in(system, above, container))


def _translation_trouble(system: System, bus: str, name: str) -> Iterator[Blocked]:
    """No IOMMU translates for this device. Where the host has none at all, iommu_trouble says so."""
    if bus == FSL_MC:
        yield from fsl_mc.group_trouble(system, name)
    elif group_of(system, bus, name) is None and system.names("/sys/class/iommu"):
        # The kernel asks for the IOMMU when the first driver is tried on a device (really_probe in drivers/base/dd.c).
        may_get_one = platform.is_behind_an_iommu(system, bus, name) or not platform.compatible(system, bus, name)
        if driver_of(system, name, bus) is not None or not may_get_one:
            yield unusable(
                f"no IOMMU of this host translates for {name}",
                "its node in the device tree needs iommus = <&iommu STREAM>; choose a device that has it",
            )


def _use_trouble(system: System, bus: str, name: str, driver: str | None, with_it: str) -> Iterator[Blocked]:
    """The host uses it, or will not let go of it."""
    used = uses(system, name, bus)
    if bus != FSL_MC and platform.is_the_console(system, bus, name):
        used.append(_CONSOLE)
    if used:
        with_driver = f" (driver {driver})" if driver else ""
        yield mistake(
            f"{name}{with_it} is in use by the host{with_driver}: {'; '.join(used)}",
            "free it first, or choose another " + ("container" if bus == FSL_MC else "device"),
        )
    elif driver and not system.exists(f"/sys/bus/{bus}/drivers/{driver}/unbind"):
        yield unusable(
            f"{name}{with_it} cannot be taken from its driver {driver}, which the kernel never lets go of a device",
            "keep that driver from it, by the kernel's command line or the device tree (an AMBA device by"
            " arm,primecell-periphid = <0x41fff>, which no driver knows)",
        )
    if not system.may(f"{directory(bus, name)}/driver_override", os.W_OK):
        yield unusable(
            f"this user may not change the driver of {name}",
            f"run passthru as root, or before it `sudo passthru bind {bus}:{name}`",
        )


def _open_trouble(system: System, bus: str, name: str) -> Iterator[Blocked]:
    """A device that is with VFIO already: somebody has it open, or this user may not open it."""
    device = directory(bus, name)
    if not of_vfio(driver_of(system, name, bus)):
        return
    if path := open_path(system, device):
        pids = ", ".join(map(str, system.holders(path)))
        yield mistake(
            f"{name} is in use already: {f'process {pids} has' if pids else 'somebody has'} {path} open",
            "end that guest first, or choose another device",
        )
    for path in (f"/dev/vfio/{group_of(system, bus, name)}", cdev_of(system, device)):
        if path and system.exists(path) and not system.may(path, os.R_OK | os.W_OK):
            yield unusable(f"this user may not read and write {path}", f"as root: chown {os.getuid()} {path}")


def demand(system: System, wanted: Message, ours: set[str]) -> str:
    """The device's name, where nothing of its own stands in the way. Raises Blocked."""
    name = choose(system, wanted["bus"], wanted["host"])
    for error in device_trouble(system, wanted, name, ours):
        raise error
    return name


def prepare(ledger: Ledger, wanted: Message, ours: set[str]) -> Message:
    """Do the steps. Raises Blocked, StepError; the caller then undoes what was done of them."""
    system, bus, owner = ledger.system, wanted["bus"], wanted["name"]
    name = demand(system, wanted, ours)
    original = driver_of(system, name, bus)
    changed = take(ledger, bus, name, owner, reset_required=wanted.get("reset_required", True))
    group = group_of(system, bus, name)
    if group is None:
        raise unusable(f"no IOMMU of this host translates for {name}", "see `passthru doctor`")
    notes = [
        f"{member} is in IOMMU group {group} too and went with it, to {driver_of(system, member, member_bus)}"
        for member_bus, member in changed
        if member != name
    ]
    if not changed and name not in ours:
        notes.append(f"{name} was bound to {original} before and stays so")
    devices = [member for _, member in changed]
    if bus == FSL_MC:
        objects = fsl_mc.taken_along(system, name)
        devices += objects if changed else []
    cdev = cdev_of(system, directory(bus, name))
    needs_cdev(wanted["container"], cdev, name)
    return {
        "name": owner,
        "bus": bus,
        "qemu_device": DRIVERS[PLATFORM] if bus == AMBA else DRIVERS[bus],
        "qemu": {"host": name},
        "address": name,
        "uuid": None,
        "group": group,
        "cdev": cdev,
        "devices": devices,
        "driver": original,
        "notes": notes,
        "resources": [f"group {group}"],
    }


def take(
    ledger: Ledger, bus: str, name: str, owner: str, *, reset_required: bool = True, modules_of: str = ""
) -> list[tuple[str, str]]:
    """Give a device, and what has to go with it, to VFIO; returns all that changed hands. Raises StepError, Blocked.

    What has to be loaded for it stays until the steps of ``modules_of`` are undone.
    """
    system = ledger.system
    changed: list[tuple[str, str]] = []
    while change := next((one for one in moves(system, bus, name) if one[:2] not in changed), None):
        # Looked at anew each time: a device whose IOMMU was not asked before has a group only now.
        member_bus, member, driver = change
        if _is_foreign(bus, member_bus):
            raise _foreign(name, member_bus, member)
        for error in _use_trouble(system, member_bus, member, driver, ""):
            raise error
        load_missing(ledger, [DRIVERS[member_bus]], without_reset=not reset_required, owner=modules_of)
        group = group_of(system, member_bus, member)
        common = {"owner": owner, "resource": f"group {group}" if group else f"device {member}", "bus": member_bus}
        if member_bus == FSL_MC:
            for error in fsl_mc.group_trouble(system, member):
                raise error  # the last look before the kernel might crash
            for step in fsl_mc.remember_objects(system, member):
                ledger.do({**step, **common})
        for step in change_driver(system, member, DRIVERS[member_bus], member_bus):
            try:
                ledger.do({**step, **common})
            except StepError as error:
                raise _explained(error, step["kind"], member) from error
        changed.append((member_bus, member))
    return changed


def _explained(error: StepError, kind: str, name: str) -> StepError:
    why = {
        errno.ENOENT: f"{name} has no reset driver: load vfio-reset-stub, or say reset_required = false (Linux 6.3 on)",
        errno.EINVAL: "it has no IOMMU group, or no device tree node and no ACPI id; its log (dmesg) may say more",
    }.get(error.errno)
    return StepError(f"{error}; {why}", error.errno) if why and kind == "bind" else error
