# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of requests about devices, checked."""

from __future__ import annotations

from passthru.worker.devices.iommu import CONTAINERS
from passthru.worker.protocol import MISTAKE, REQUEST, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from passthru.worker.stream import Message

    Keys = dict[str, tuple[tuple[type, ...], bool]]

# key: kinds, needed
_PCI: Keys = {
    "host": ((str,), True),
    "vf": ((int, type(None)), False),
    "vfs": ((int, type(None)), False),
}
_MDEV: Keys = {
    "parent": ((str, type(None)), True),
    "type": ((str, type(None)), True),
    "uuid": ((str, type(None)), False),
}
_BOTH: Keys = {
    "name": ((str,), True),
    "container": ((str,), True),
    "unsafe": ((bool,), False),
}
_CHIP: Keys = {"host": ((str,), True)}
_RESET: Keys = {"reset_required": ((bool,), False)}
_BUSES: dict[object, Keys] = {
    "pci": _BOTH | _PCI,
    "mdev": _BOTH | _MDEV,
    "platform": _BOTH | _CHIP | _RESET,
    "amba": _BOTH | _CHIP,
    "fsl-mc": _BOTH | _CHIP,
}


def field(request: Message, key: str, kinds: type | tuple[type, ...]) -> Any:
    """The argument ``key`` of one of the ``kinds``; absent is None. Raises RequestError."""
    value = request.get(key)
    if not isinstance(value, kinds) or (isinstance(value, str) and ("\0" in value or "\n" in value)):
        raise RequestError(REQUEST, f"the request {request.get('do')!r} has a wrong or no argument {key!r}")
    return value


def assignment(value: object) -> Message:
    """An assignment with every key that its bus needs. Raises RequestError."""
    if not isinstance(value, dict) or value.get("bus") not in _BUSES:
        raise RequestError(REQUEST, f"an assignment needs a bus, {' or '.join(map(str, _BUSES))}: {value!r}")
    for key, (kinds, needed) in _BUSES[value["bus"]].items():
        if needed or key in value:
            item = value.get(key)
            if not isinstance(item, kinds) or (
                isinstance(item, str) and ("\0" in item or "\n" in item or "/.." in item)
            ):
                raise RequestError(REQUEST, f"the assignment {value.get('name')!r} has a wrong or no {key!r}: {item!r}")
    if value["container"] not in CONTAINERS:
        raise RequestError(REQUEST, f"there is no container {value['container']!r}; there are {', '.join(CONTAINERS)}")
    if value["bus"] == "mdev" and (value["parent"] is None) != (value["type"] is None):
        raise RequestError(REQUEST, f"the mdev {value['name']!r} has a parent or a type, where it needs both or none")
    if value["bus"] == "mdev" and value["parent"] is None and value.get("uuid") is None:
        raise RequestError(REQUEST, f"the mdev {value['name']!r} has no parent, and no uuid of one that is there")
    if value.get("vf") is not None and value["vf"] < 0:
        raise RequestError(REQUEST, f"the virtual function {value['vf']} of {value['name']!r} is below 0")
    return value


def assignments(request: Message) -> list[Message]:
    """The assignments of a preflight. Raises RequestError."""
    return [assignment(value) for value in field(request, "assignments", list)]


def attributes(request: Message) -> list[tuple[str, str]]:
    """The attributes of an mdev that is to be made, names and values; none by default. Raises RequestError."""
    pairs = field(request, "attributes", (list, type(None))) or []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(item, str) for item in pair)):
            raise RequestError(REQUEST, f"an attribute of an mdev is a name and a value: {pair!r}")
        name = pair[0]
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in "".join(pair):
            raise RequestError(MISTAKE, f"{name!r} names no attribute of an mdev; it is a file in its directory")
    return [(name, value) for name, value in pairs]
