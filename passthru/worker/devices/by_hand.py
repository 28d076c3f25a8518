# SPDX-License-Identifier: GPL-2.0-or-later
"""Bindings and mdevs that a user makes by hand: they stay until he undoes them, whatever workers come and go.

While one is being made its steps stand in an ordinary journal, so that a crash in the middle is recovered. Once it is
made, they move to a file of their own, from which `unbind` restores what was before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

from passthru.worker.devices import assign_on_chip, mdev, pci
from passthru.worker.devices.assign_pci import change_driver, device_trouble
from passthru.worker.devices.buses import DRIVERS, FSL_MC, ON_CHIP, split
from passthru.worker.devices.fsl_mc import taken_along
from passthru.worker.devices.groups import group_of
from passthru.worker.devices.iommu import TYPE1, iommu_trouble, module_trouble
from passthru.worker.devices.journal import make_state, read_lines
from passthru.worker.devices.ledger import Ledger
from passthru.worker.devices.loading import load_missing
from passthru.worker.devices.steps import BUSES, StepError, directory, driver_of, override_of, wait_until_free
from passthru.worker.devices.trouble import mistake, unusable
from passthru.worker.devices.usage import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.journal import Step
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message

_FILE = "by-hand.jsonl"


def bind(system: System, host: str, driver: str | None) -> Message:
    """Bind a device to ``driver``, or to VFIO's of its bus and then with all of its group.

    Raises Blocked, StepError: all as before.
    """
    bus, name = split(system, host)
    driver = driver or DRIVERS[bus]
    if bus in ON_CHIP:
        return _bind_on_chip(system, bus, assign_on_chip.choose(system, bus, name), driver)
    address = pci.choose(system, name)
    before = driver_of(system, address)
    group = pci.group_of(system, address)
    changes: list[tuple[str, str | None, str | None]] = [(address, before, driver)]
    if driver == pci.VFIO_PCI:
        for error in (
            *iommu_trouble(system, "local"),
            *module_trouble(system, [driver]),
            *device_trouble(system, address, set()),
        ):
            raise error
        changes = pci.moves(system, address, group or "")
    elif before != driver:
        _other_driver(system, bus, address, pci.describe(system, address), driver)
    with _kept(system) as kept, _transaction(system) as ledger:
        owner = f"by hand {address}"
        load_missing(ledger, [driver] if driver == pci.VFIO_PCI else [], owner=owner)
        for member, _, then in changes:
            for step in change_driver(system, member, then):
                ledger.do({**step, "owner": owner, "resource": ""})
        kept += ledger.steps
        _store(system, kept)
        ledger.drop(lambda step: True)
    changed = [member for member, now, then in changes if now != then]
    return {"address": address, "group": group, "driver": driver, "before": before, "devices": changed}


def _other_driver(system: System, bus: str, name: str, said: str, driver: str) -> None:
    """Raises Blocked where a device cannot be given to a driver that is none of VFIO's."""
    if "/" in driver or not system.exists(f"{BUSES}/{bus}/drivers/{driver}/bind"):
        kind = "PCI driver" if bus == "pci" else f"driver of the bus {bus}"
        raise mistake(f"the host's kernel has no {kind} {driver!r} now", "load its module first, by modprobe")
    if used := uses(system, name, bus):
        raise mistake(f"{said} is in use by the host: {'; '.join(used)}", "free it first")


def _bind_on_chip(system: System, bus: str, name: str, driver: str) -> Message:
    before = driver_of(system, name, bus)
    owner = f"by hand {name}"
    if driver == DRIVERS[bus]:
        # Whether interrupts are safe is asked of who opens it; a module that is loaded already knows of resets.
        wanted = {"bus": bus, "host": name, "container": TYPE1, "unsafe": True}
        for error in (
            *iommu_trouble(system, "local"),
            *module_trouble(system, [driver]),
            *assign_on_chip.device_trouble(system, wanted, name, set()),
        ):
            raise error
    elif before != driver:
        _other_driver(system, bus, name, name, driver)
    with _kept(system) as kept, _transaction(system) as ledger:
        if driver == DRIVERS[bus]:
            changed = [member for _, member in assign_on_chip.take(ledger, bus, name, owner, modules_of=owner)]
            if bus == FSL_MC and changed:
                changed += taken_along(system, name)
        else:
            changed = [] if before == driver else [name]
            for step in change_driver(system, name, driver, bus):
                ledger.do({**step, "owner": owner, "resource": "", "bus": bus})
        kept += ledger.steps
        _store(system, kept)
        ledger.drop(lambda step: True)
    group = group_of(system, bus, name)
    return {"address": name, "group": group, "driver": driver, "before": before, "devices": changed}


def unbind(system: System, host: str) -> Message:
    """Give back what ``bind`` took: the device and what went with it. Raises Blocked, StepError.

    A device that VFIO has without our bind is given to the driver that the kernel finds for it.
    """
    bus, name = split(system, host)
    address = assign_on_chip.choose(system, bus, name) if bus in ON_CHIP else pci.choose(system, name)
    now = driver_of(system, address, bus)
    with _kept(system) as kept:
        owners = {step["owner"] for step in kept if step["target"] == address and step["kind"] != "mdev-create"}
        if owners:
            ledger = Ledger(system, None, list(kept))
            undone, failed, stays = ledger.undo(lambda step: step["owner"] in owners)
            _store(system, ledger.steps)
            if failed:
                raise StepError("; ".join(failed))
            return {"address": address, "driver": driver_of(system, address, bus), "undone": undone, "kept": stays}
    if now is None or not now.startswith("vfio"):
        raise mistake(
            f"{address} is not bound to {DRIVERS[bus]}: its driver is {now or 'none'}",
            "there is nothing to undo for it",
        )
    device = directory(bus, address)
    wait_until_free(system, device)
    try:
        system.write(f"{device}/driver/unbind", address)
        if override_of(system, address, bus):
            system.write(f"{device}/driver_override", "\n")
        system.write(f"{BUSES}/{bus}/drivers_probe", address)
    except OSError as error:
        raise unusable(
            f"{address} cannot be taken from {now}: {error.strerror}", "run as root, and see `dmesg`"
        ) from error
    return {
        "address": address,
        "driver": driver_of(system, address, bus),
        "undone": [f"binding {address} to {now}"],
        "kept": [],
    }


def create_mdev(system: System, parent: str, kind: str, uuid: str | None, attributes: list[tuple[str, str]]) -> Message:
    """Make an mdev that stays, with ``attributes`` written into its files. Raises Blocked, StepError."""
    parent = mdev.choose_parent(system, parent)
    kind = mdev.choose_type(system, parent, kind)
    uuid = mdev.checked_uuid(uuid)
    with _transaction(system) as ledger:
        mdev.create(ledger, f"by hand {uuid}", parent, kind, uuid)
        for name, value in attributes:
            mdev.set_attribute(system, uuid, name, value)
        ledger.drop(lambda step: True)
    return {"uuid": uuid, "parent": parent, "type": kind}


def remove_mdev(system: System, uuid: str) -> Message:
    """Remove an mdev, whoever made it. Raises Blocked."""
    mdev.remove(system, uuid)
    return {}


@contextlib.contextmanager
def _transaction(system: System) -> Iterator[Ledger]:
    """A ledger of its own, undone where its block fails."""
    ledger = Ledger(system)
    try:
        yield ledger
    except BaseException as error:
        failed = ledger.undo_since(0)
        if failed:
            raise StepError(f"{error}; and not all is as before: {'; '.join(failed)}") from error
        raise
    finally:
        ledger.close()


@contextlib.contextmanager
def _kept(system: System) -> Iterator[list[Step]]:
    """The steps of earlier bindings in this boot, locked meanwhile. Raises Blocked where they cannot be kept."""
    try:
        make_state(system)
        lock = os.open(f"{system.state}/by-hand.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(
            f"{system.state}, where bindings by hand are kept, cannot be used: {error.strerror}", "run as root"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            lines = read_lines(f"{system.state}/{_FILE}")
        except FileNotFoundError:
            lines = []
        this_boot = bool(lines) and lines[0].get("boot") == system.boot
        yield [line for line in lines if "step" in line] if this_boot else []
    finally:
        os.close(lock)


def _store(system: System, steps: list[Step]) -> None:
    """Replace the file of bindings by hand; it is on the disk when this returns. Raises StepError."""
    path = f"{system.state}/{_FILE}"
    lines: list[Step] = [{"passthru": 1, "boot": system.boot}]
    lines += [{**step, "step": number} for number, step in enumerate(steps, 1)]
    try:
        with open(f"{path}.new", "w") as file:  # noqa: PTH123
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)  # noqa: PTH105
    except OSError as error:
        raise StepError(f"cannot keep in {path} what is to be undone later: {error.strerror}") from error
