# SPDX-License-Identifier: GPL-2.0-or-later
"""A PCI device made ready for a guest: what stands in the way, the steps, and what QEMU is told."""

from __future__ import annotations

import os

from passthru.worker.devices import noiommu, pci
from passthru.worker.devices.iommu import (
    NOIOMMU,
    TYPE1,
    container_trouble,
    interrupts_trouble,
    iommu_trouble,
    memlock_trouble,
    module_trouble,
    needed_modules,
    needs_cdev,
)
from passthru.worker.devices.journal import others
from passthru.worker.devices.steps import PCI, StepError, cdev_of, driver_of, link_of, open_path, override_of
from passthru.worker.devices.trouble import Blocked, mistake, unusable
from passthru.worker.devices.usage import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.journal import Step
    from passthru.worker.devices.ledger import Ledger
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message


def trouble(system: System, wanted: Message, memory: int, kind: str, ours: set[str]) -> Iterator[Blocked]:
    """Everything that stands in the way of an assignment. ``ours`` are addresses that this worker prepared already."""
    try:
        address = pci.choose(system, wanted["host"])
    except Blocked as error:
        yield error
        return
    if wanted.get("vf") is not None:
        function = None
        try:
            function = existing_function(system, address, wanted["vf"], functions_wanted(wanted))
        except Blocked as error:
            yield error
        if function is None:
            # It is made by preparing it; what its group will be is known then.
            yield from host_trouble(system, wanted["container"], memory, kind, unsafe=wanted.get("unsafe", False))
            return
        address = function
    yield from device_trouble(system, address, ours, wanted["container"])
    yield from host_trouble(system, wanted["container"], memory, kind, unsafe=wanted.get("unsafe", False))


def host_trouble(system: System, container: str, memory: int, kind: str, *, unsafe: bool) -> Iterator[Blocked]:
    """What stands in the way of any PCI device's assignment on this host."""
    if container == NOIOMMU:
        yield from noiommu.host_trouble(system)
        yield from container_trouble(system, container)
        return
    without_iommu = list(iommu_trouble(system, kind))
    yield from without_iommu
    yield from module_trouble(system, needed_modules("pci", container))
    yield from container_trouble(system, container)
    if not without_iommu:
        yield from interrupts_trouble(system, container, unsafe)
    yield from memlock_trouble(system, memory)


def device_trouble(system: System, address: str, ours: set[str], container: str = TYPE1) -> Iterator[Blocked]:
    """What stands in the way of this device: its kind, its group, its use, its permissions."""
    if pci.class_of(system, address) in ("0604", "0607"):
        yield mistake(
            f"{address} is a bridge to another bus, which VFIO does not give away", "choose a device behind it"
        )
        return
    group = pci.group_of(system, address)
    group_changes: list[tuple[str, str | None, str | None]] = []
    if container == NOIOMMU:
        yield from noiommu.device_trouble(system, address, group)
        group_changes = [(address, driver_of(system, address), pci.VFIO_PCI)]
    elif group is None and _may_get_a_group(system, address):
        group_changes = [(address, None, pci.VFIO_PCI)]
    elif group is None:
        if system.names("/sys/class/iommu"):
            yield unusable(f"no IOMMU of this host translates for {address}", "put the device into another slot")
        else:
            yield from ()  # iommu_trouble says why
    else:
        group_changes = pci.moves(system, address, group)
        yield from group_trouble(system, address, group, group_changes)
    if not override_possible(system, address) and group_changes:
        yield unusable(
            f"this user may not change the driver of {address}",
            f"run passthru as root, or before it `sudo passthru bind {address}`",
        )
    if address not in ours:
        yield from open_trouble(system, address, group)


def _may_get_a_group(system: System, address: str) -> bool:
    """Whether the kernel has not asked yet which IOMMU translates for a device: some IOMMUs (virtio's, by its VIOT) are
    asked when the first driver is tried on it (acpi_dma_configure in really_probe, drivers/base/dd.c)."""
    return driver_of(system, address) is None and bool(system.names("/sys/class/iommu"))


def override_possible(system: System, address: str) -> bool:
    """Whether this process may give the device another driver."""
    return system.may(f"{PCI}/{address}/driver_override", os.W_OK)


def group_trouble(
    system: System, chosen: str, group: str, changes: list[tuple[str, str | None, str | None]]
) -> Iterator[Blocked]:
    """Devices that move with the chosen one and must not."""
    physical = pci.physical_function(system, chosen)
    theirs = others(system)
    if taken := [address for address in pci.members(system, group) if address in theirs]:
        yield mistake(
            f"{chosen} (IOMMU group {group}) is prepared by another passthru, process {theirs[taken[0]]}",
            "wait for its end, or choose another device",
        )
    for address, driver, _ in changes:
        whose = "" if address == chosen else f", which shares IOMMU group {group} with {chosen} and goes with it,"
        said = f"{pci.describe(system, address)}{whose}"
        if address == physical:
            yield unusable(
                f"{chosen} shares IOMMU group {group} with {address}, its own physical function (driver {driver})",
                'put the card behind a port with ACS (in a rig: place = "root-port")',
            )
        elif pci.class_of(system, address) != "0604" and (used := uses(system, address)):  # not all that is behind it
            with_driver = f" (driver {driver})" if driver else ""
            yield mistake(
                f"{said} is in use by the host{with_driver}: {'; '.join(used)}",
                "free it first, or choose another device"
                if address == chosen
                else "free it first, or choose a device of another group (a slot behind a port with ACS)",
            )


def open_trouble(system: System, address: str, group: str | None) -> Iterator[Blocked]:
    """A device that is with VFIO already: somebody has it open, or this user may not open it."""
    if not (driver_of(system, address) or "").startswith("vfio"):
        return
    if path := open_path(system, f"{PCI}/{address}"):
        pids = ", ".join(map(str, system.holders(path)))
        yield mistake(
            f"{address} is in use already: {f'process {pids} has' if pids else 'somebody has'} {path} open",
            "end that guest first, or choose another device",
        )
    file = f"/dev/vfio/{noiommu.device_file(system, group)}" if group else ""
    for path in (file, cdev_of(system, f"{PCI}/{address}")):
        if path and system.exists(path) and not system.may(path, os.R_OK | os.W_OK):
            yield unusable(f"this user may not read and write {path}", f"as root: chown {os.getuid()} {path}")


def functions_wanted(wanted: Message) -> int:
    """How many virtual functions there have to be."""
    return max(int(wanted.get("vfs") or 0), int(wanted["vf"]) + 1)


def existing_function(system: System, physical: str, index: int, count: int) -> str | None:
    """The address of a virtual function, None where it is yet to be made. Raises Blocked where it cannot be."""
    device = f"{PCI}/{physical}"
    total = system.read(f"{device}/sriov_totalvfs")
    if total is None:
        raise mistake(
            f"{pci.describe(system, physical)} has no virtual functions (no SR-IOV)",
            "choose a device that has, or leave out vf",
        )
    if count > int(total):
        raise mistake(f"{physical} can have {total} virtual functions, not {count}", "ask for fewer (vfs, vf)")
    now = int(system.read(f"{device}/sriov_numvfs") or 0)
    if now == 0:
        if (driver := driver_of(system, physical)) is None or driver.startswith("vfio"):
            raise unusable(
                f"{physical} has {'no driver' if driver is None else f'the driver {driver}'}, and only the driver of"
                " the physical function makes virtual ones",
                "load its module (igb for an igb), and see `dmesg`",
            )
        return None
    if now < count:
        raise mistake(
            f"{physical} has {now} virtual functions already, {count} are asked for, and their number is"
            " changed by way of 0 only",
            f"ask for at most {now}, or as root: echo 0 > {device}/sriov_numvfs",
        )
    return pci.virtual_function(system, physical, index)


def prepare(ledger: Ledger, wanted: Message, ours: set[str]) -> Message:
    """Do the steps. Raises Blocked, StepError; the caller then undoes what was done of them."""
    system = ledger.system
    owner = wanted["name"]
    address = pci.choose(system, wanted["host"])
    notes: list[str] = []
    resources: list[str] = []
    if wanted.get("vf") is not None:
        physical, count = address, functions_wanted(wanted)
        resource = f"functions of {physical}"
        resources.append(resource)
        function = existing_function(system, physical, wanted["vf"], count)
        if function is None:
            for step in make_functions(system, physical, count):
                ledger.do({**step, "owner": owner, "resource": resource})
            function = pci.virtual_function(system, physical, wanted["vf"])
        for step in set_up(system, physical):
            ledger.do({**step, "owner": owner, "resource": resource})
        if function is None:
            raise StepError(f"{physical} has {count} virtual functions now, but no virtfn{wanted['vf']}; see `dmesg`")
        address = function
    for error in device_trouble(system, address, ours, wanted["container"]):
        raise error
    if wanted["container"] == NOIOMMU:
        noiommu.allow(ledger)
    original = driver_of(system, address)
    changed = []
    if pci.group_of(system, address) is None:
        for step in change_driver(system, address, pci.VFIO_PCI):
            ledger.do({**step, "owner": owner, "resource": f"device {address}"})
        changed.append(address)
        resources.append(f"device {address}")
    group = pci.group_of(system, address)
    if group is None:
        if wanted["container"] == NOIOMMU:
            raise unusable(f"VFIO made no group of its own for {address}", "see `dmesg`")
        raise unusable(f"no IOMMU of this host translates for {address}", "see `passthru doctor`")
    resource = f"group {group}"
    resources.append(resource)
    for member, _, then in pci.moves(system, address, group):
        for step in change_driver(system, member, then):
            ledger.do({**step, "owner": owner, "resource": resource})
        changed.append(member)
        if member != address:
            notes.append(
                f"{pci.describe(system, member)} is in IOMMU group {group} too and went with it,"
                f" {'to ' + then if then else 'without a driver'}"
            )
    if not changed and address not in ours:
        notes.append(f"{address} was bound to {original} before and stays so")
    cdev = cdev_of(system, f"{PCI}/{address}")
    needs_cdev(wanted["container"], cdev, address)
    return {
        "name": owner,
        "bus": "pci",
        "qemu_device": "vfio-pci",
        "qemu": {"host": address},
        "address": address,
        "uuid": None,
        "group": noiommu.device_file(system, group),
        "cdev": cdev,
        "devices": changed,
        "driver": original,
        "notes": notes,
        "resources": resources,
    }


def make_functions(system: System, physical: str, count: int) -> Iterator[Step]:
    """The steps that make virtual functions. No driver of the host's takes them (drivers/pci/pci-driver.c:
    pci_device_can_probe), but one that driver_override names may."""
    autoprobe = system.read(f"{PCI}/{physical}/sriov_drivers_autoprobe")
    if autoprobe == "1":
        yield {"kind": "sriov_drivers_autoprobe", "target": physical, "before": "1", "after": "0"}
    yield {"kind": "sriov_numvfs", "target": physical, "before": "0", "after": str(count)}


def set_up(system: System, physical: str) -> Iterator[Step]:
    """The steps that set a network card's own interface up: as long as it is down, its virtual functions have no link,
    and some (igb's) cannot even be reset."""
    interfaces = system.names(f"{PCI}/{physical}/net")
    if interfaces and all(link_of(system, interface) == "down" for interface in interfaces):
        yield {"kind": "link", "target": interfaces[0], "before": "down", "after": "up"}


def change_driver(system: System, address: str, then: str | None, bus: str = "pci") -> Iterator[Step]:
    """The steps by which a device gets another driver, or none.

    Their order lets them be undone in reverse: the old driver takes a device only when driver_override names ours no
    more.
    """
    if (now := driver_of(system, address, bus)) is not None and now != then:
        yield {"kind": "unbind", "target": address, "before": now, "after": None}
    if then is not None:
        if (override := override_of(system, address, bus)) != then:
            yield {"kind": "driver_override", "target": address, "before": override, "after": then}
        if now != then:
            yield {"kind": "bind", "target": address, "before": None, "after": then}
