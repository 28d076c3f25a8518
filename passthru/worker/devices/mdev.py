# SPDX-License-Identifier: GPL-2.0-or-later
"""Mediated devices: their parents and types as the kernel lists them, and one of them made for a guest.

Documentation/driver-api/vfio-mediated-device.rst; the kernel's own answers in drivers/vfio/mdev/mdev_sysfs.c.
"""

from __future__ import annotations

import errno
import os
import re

from passthru.worker.devices import pci
from passthru.worker.devices.iommu import NOIOMMU, container_trouble, module_trouble, needed_modules, needs_cdev
from passthru.worker.devices.steps import MDEV, MDEV_PARENTS, StepError, cdev_of, open_path
from passthru.worker.devices.trouble import Blocked, mistake, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.ledger import Ledger
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def parents(system: System) -> list[Message]:
    """Every parent with its types: name, description, device_api, available_instances, and its mdevs (UUIDs)."""
    return [{"parent": name, "types": types(system, name)} for name in system.names(MDEV_PARENTS)]


def types(system: System, parent: str) -> list[Message]:
    """The types of a parent."""
    found = []
    for name in system.names(f"{MDEV_PARENTS}/{parent}/mdev_supported_types"):
        directory = f"{MDEV_PARENTS}/{parent}/mdev_supported_types/{name}"
        found.append(
            {
                "type": name,
                "name": system.read(f"{directory}/name"),
                "description": system.read(f"{directory}/description"),
                "device_api": system.read(f"{directory}/device_api"),
                "available_instances": int(system.read(f"{directory}/available_instances") or 0),
                "devices": system.names(f"{directory}/devices"),
            }
        )
    return found


def choose_parent(system: System, wanted: str) -> str:
    """The parent's name in /sys/class/mdev_bus: as it is, or a PCI address in any form. Raises Blocked."""
    there = system.names(MDEV_PARENTS)
    if wanted in there:
        return wanted
    try:
        address = pci.choose(system, wanted)
    except Blocked:
        address = None
    if address in there:
        return address
    listed = f"it has {', '.join(there)}" if there else "it has none: load the module of one (host.modules in a rig)"
    raise mistake(f"there is no parent {wanted!r} of mdevs on this host", listed)


def choose_type(system: System, parent: str, wanted: str) -> str:
    """The type ``wanted``: its directory's name, or its ``name`` where one type only has that. Raises Blocked."""
    there = system.names(f"{MDEV_PARENTS}/{parent}/mdev_supported_types")
    if wanted in there:
        return wanted
    named = [
        name for name in there if system.read(f"{MDEV_PARENTS}/{parent}/mdev_supported_types/{name}/name") == wanted
    ]
    if len(named) == 1:
        return named[0]
    raise mistake(f"the parent {parent} has no mdev type {wanted!r}", f"its types are {', '.join(there) or 'none'}")


def available(system: System, parent: str, kind: str) -> int:
    """How many more mdevs of a type can be made now."""
    return int(system.read(f"{MDEV_PARENTS}/{parent}/mdev_supported_types/{kind}/available_instances") or 0)


def checked_uuid(text: str | None) -> str:
    """A UUID as the kernel writes it, a new random one for None. Raises Blocked."""
    if text is None:
        raw = bytearray(os.urandom(16))
        raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80  # RFC 4122: version 4, random
        digits = raw.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if not _UUID.fullmatch(text.lower()):
        raise mistake(f"{text!r} is no UUID", "write 8-4-4-4-12 hexadecimal digits, or leave it out for a new one")
    return text.lower()


def trouble(system: System, wanted: Message, taken: dict[str, int]) -> Iterator[Blocked]:
    """Everything that stands in the way. No memory is locked before: a parent pins what it reads and writes only.

    ``taken`` counts instances that other assignments take, by parent and type.
    """
    if wanted["container"] == NOIOMMU:
        yield mistake(
            "a mediated device is behind its parent, and VFIO gives none away without an IOMMU",
            'take container = "type1" or "iommufd", which need no IOMMU for it',
        )
    if wanted["parent"] is None:
        yield from _made_trouble(system, wanted["uuid"])
    else:
        yield from _making_trouble(system, wanted, taken)
    yield from module_trouble(system, needed_modules("mdev", wanted["container"]))
    yield from container_trouble(system, wanted["container"])


def _made_trouble(system: System, text: str) -> Iterator[Blocked]:
    """What stands in the way of an mdev that is to be there already."""
    try:
        uuid = checked_uuid(text)
        must_exist(system, uuid)
    except Blocked as error:
        yield error
        return
    device = f"{MDEV}/{uuid}"
    if path := open_path(system, device):
        yield held(system, uuid, path)
    for path in (f"/dev/vfio/{system.link(f'{device}/iommu_group')}", cdev_of(system, device)):
        if path and system.exists(path) and not system.may(path, os.R_OK | os.W_OK):
            yield unusable(f"this user may not read and write {path}", f"as root: chown {os.getuid()} {path}")


def _making_trouble(system: System, wanted: Message, taken: dict[str, int]) -> Iterator[Blocked]:
    """What stands in the way of making one."""
    try:
        parent = choose_parent(system, wanted["parent"])
        kind = choose_type(system, parent, wanted["type"])
        uuid = None if wanted.get("uuid") is None else checked_uuid(wanted["uuid"])
    except Blocked as error:
        yield error
    else:
        if available(system, parent, kind) <= taken.get(f"{parent} {kind}", 0):
            yield none_left(system, parent, kind)
        taken[f"{parent} {kind}"] = taken.get(f"{parent} {kind}", 0) + 1
        if uuid and system.exists(f"{MDEV}/{uuid}"):
            yield in_use(uuid)
        if not system.may(f"{MDEV_PARENTS}/{parent}/mdev_supported_types/{kind}/create", os.W_OK):
            yield unusable(
                f"this user may not create mdevs of {parent}", "run passthru as root (in a rig the worker is root)"
            )


def none_left(system: System, parent: str, kind: str) -> Blocked:
    """No instances left, and who has them."""
    users = [uuid for entry in types(system, parent) for uuid in entry["devices"]]
    having = f"; its mdevs are {', '.join(users)}" if users else ""
    return mistake(
        f"the parent {parent} has no instances of {kind} left (available_instances is"
        f" {available(system, parent, kind)}){having}",
        "remove one (`passthru mdev remove UUID`), or take a type that needs less",
    )


def in_use(uuid: str) -> Blocked:
    """A UUID that an mdev has already."""
    return mistake(
        f"there is an mdev {uuid} on this host already",
        "leave uuid out for a new one, or `passthru mdev remove` that one",
    )


def must_exist(system: System, uuid: str) -> None:
    """Raises Blocked where there is no such mdev."""
    if not system.exists(f"{MDEV}/{uuid}"):
        there = system.names(MDEV)
        raise mistake(f"there is no mdev {uuid} on this host", f"it has {', '.join(there) or 'none'}")


def held(system: System, uuid: str, path: str) -> Blocked:
    """An mdev that somebody has open by ``path``."""
    pids = ", ".join(map(str, system.holders(path)))
    return mistake(f"the mdev {uuid} is in use{f' by process {pids}' if pids else ''} ({path})", "end that guest first")


def prepare(ledger: Ledger, wanted: Message) -> Message:
    """Make the mdev, or take the one that is there. Raises Blocked, StepError; the caller then undoes what was done."""
    system = ledger.system
    uuid = checked_uuid(wanted.get("uuid"))
    notes = []
    if wanted["parent"] is None:
        for error in _made_trouble(system, uuid):
            raise error
        notes.append(f"the mdev {uuid} was made before and stays")
    else:
        parent = choose_parent(system, wanted["parent"])
        kind = choose_type(system, parent, wanted["type"])
        if system.exists(f"{MDEV}/{uuid}"):
            raise in_use(uuid)
        create(ledger, wanted["name"], parent, kind, uuid)
    device = f"{MDEV}/{uuid}"
    cdev = cdev_of(system, device)
    needs_cdev(wanted["container"], cdev, uuid)
    return {
        "name": wanted["name"],
        "bus": "mdev",
        # QEMU's devices for mdevs are called as the kernel calls their interfaces: vfio-pci, vfio-platform, vfio-ap.
        "qemu_device": system.read(f"{device}/mdev_type/device_api") or "vfio-pci",
        "qemu": {"sysfsdev": device},
        "address": uuid,
        "uuid": uuid,
        "group": system.link(f"{device}/iommu_group"),
        "cdev": cdev,
        "devices": [] if wanted["parent"] is None else [uuid],
        "driver": None,
        "notes": notes,
        "resources": [],
    }


def create(ledger: Ledger, owner: str, parent: str, kind: str, uuid: str) -> None:
    """Make an mdev, journaled. Raises Blocked, StepError."""
    step = {"kind": "mdev-create", "target": uuid, "parent": parent, "before": None, "after": kind}
    try:
        ledger.do({**step, "owner": owner, "resource": ""})
    except StepError as error:
        if error.errno in (errno.ENOSPC, errno.EUSERS):
            raise none_left(ledger.system, parent, kind) from error
        if error.errno == errno.EEXIST:
            # Somebody was quicker: what is there by that UUID is not ours to remove.
            ledger.drop(lambda made: made["kind"] == "mdev-create" and made["target"] == uuid)
            raise in_use(uuid) from error
        raise


def set_attribute(system: System, uuid: str, name: str, value: str) -> None:
    """Write one of the files of an mdev, which are its parent's own. Raises StepError."""
    try:
        system.write(f"{MDEV}/{uuid}/{name}", value)
    except OSError as error:
        raise StepError(
            f"writing {value!r} to the attribute {name!r} of the mdev {uuid} failed: {error.strerror}",
            error.errno or 0,
        ) from error


def remove(system: System, uuid: str) -> None:
    """Remove an mdev by hand. Raises Blocked."""
    uuid = checked_uuid(uuid)
    must_exist(system, uuid)
    if path := open_path(system, f"{MDEV}/{uuid}"):
        raise held(system, uuid, path)
    try:
        system.write(f"{MDEV}/{uuid}/remove", "1")
    except OSError as error:
        raise unusable(
            f"the mdev {uuid} cannot be removed: {error.strerror}", "run as root, and see `dmesg`"
        ) from error
