# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions of mediated devices in the JSON of mdevctl, as libvirt and distributions keep them.

A definition by itself is {"mdev_type": TYPE, "start": "auto" | "manual", "attrs": [{NAME: VALUE}, ...]}: a file
/etc/mdevctl.d/PARENT/UUID, and what `mdevctl list --dumpjson` prints of one device. What it prints of several is
[{PARENT: [{UUID: definition}, ...]}] (mdevctl.rst and src/mdev.rs of mdevctl 1.4).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Definition:
    """An mdev as it is to be made. A definition by itself tells neither ``parent`` nor ``uuid``."""

    type: str
    parent: str | None = None
    uuid: str | None = None
    start: str = "manual"
    """"auto": mdevctl makes it when its parent appears."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What is written into its files in sysfs once it is made, in this order; a name may come again."""

    def record(self) -> dict[str, Any]:
        """As mdevctl keeps it, by itself."""
        attributes = [{name: value} for name, value in self.attributes]
        return {"mdev_type": self.type, "start": self.start, "attrs": attributes}


def dump(definition: Definition) -> str:
    """One definition by itself."""
    return json.dumps(definition.record(), indent=2)


def dump_all(definitions: Iterable[Definition]) -> str:
    """Definitions with their parents and UUIDs."""
    parents: dict[str, list[dict[str, Any]]] = {}
    for definition in definitions:
        entry = {str(definition.uuid): definition.record()}
        parents.setdefault(str(definition.parent), []).append(entry)
    return json.dumps([parents] if parents else [], indent=2)


def of_file(path: Path) -> list[Definition]:
    """The definitions in a file. One by itself has its UUID and parent by the path, if that is .../PARENT/UUID.

    Raises UserMistake.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserMistake(f"{path} cannot be read: {reason}; name a file in mdevctl's JSON") from error
    found = parse(text, str(path))
    if len(found) == 1 and found[0].uuid is None and UUID.fullmatch(path.name):
        return [replace(found[0], parent=path.absolute().parent.name, uuid=path.name.lower())]
    return found


def parse(text: str, source: str) -> list[Definition]:
    """The definitions in ``text``, at least one; ``source`` says in errors where it is from. Raises UserMistake."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserMistake(f"{source} is no JSON: {error}; `mdevctl list -d --dumpjson` prints what is wanted") from None
    if isinstance(value, dict) and "mdev_type" in value:
        return [_definition(value, source)]
    found = list(_listed(value, source))
    if not found:
        raise UserMistake(f"{source} defines no mdev; `mdevctl list -d --dumpjson` prints what is wanted")
    return found


def _listed(value: Any, source: str) -> Iterator[Definition]:
    for parents in _list(value, source, "a definition, or a list of parents"):
        for parent, devices in _table(parents, source, "an object of parents").items():
            for device in _list(devices, f"{source}, {parent}", "a list of mdevs"):
                for uuid, record in _table(device, f"{source}, {parent}", "an object with a UUID").items():
                    where = f"{source}, {parent}, {uuid}"
                    if not UUID.fullmatch(uuid):
                        raise UserMistake(f"{where}: that is no UUID, which the key of an mdev has to be")
                    definition = _definition(_table(record, where, "a definition"), where)
                    yield replace(definition, parent=parent, uuid=uuid.lower())


def _definition(record: dict[str, Any], where: str) -> Definition:
    kind, start = record.get("mdev_type"), record.get("start", "manual")
    if not isinstance(kind, str) or not kind:
        raise UserMistake(f'{where}: "mdev_type" is {json.dumps(kind)}, and has to name a type of the parent')
    if start not in ("auto", "manual"):
        raise UserMistake(f'{where}: "start" is {json.dumps(start)}, and has to be "auto" or "manual"')
    attributes = []
    for attribute in _list(record.get("attrs") or [], f'{where}: "attrs"', "a list"):
        if not isinstance(attribute, dict) or len(attribute) != 1:
            raise UserMistake(f'{where}: {json.dumps(attribute)} in "attrs" has to be one {{"NAME": "VALUE"}}')
        ((name, value),) = attribute.items()
        if not isinstance(value, str):
            raise UserMistake(f'{where}: the attribute "{name}" is {json.dumps(value)}, and has to be a text')
        attributes.append((name, value))
    return Definition(kind, start=start, attributes=tuple(attributes))


def _list(value: Any, where: str, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserMistake(f"{where} has to be {what} in mdevctl's JSON")
    return value


def _table(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserMistake(f"{where} has to hold {what} in mdevctl's JSON")
    return value
