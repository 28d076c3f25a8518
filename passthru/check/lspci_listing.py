# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what ``lspci -xxvv`` prints of one device, and listings of the same form in the kernel's documents.

Indentation does not count, and a line of flags may be wrapped: documents were reflowed more than once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

FLAG_FIELDS = ("Control", "Status")

_HEADER = re.compile(
    r"(?P<slot>(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (?P<class_name>[^:]+): (?P<name>.*?)"
    r"(?: \(rev (?P<revision>[0-9a-f]{2})\))?(?: \(prog-if (?P<interface>[0-9a-f]{2})(?: \[[^]]*\])?\))?"
)
_BYTES = re.compile(r"(?P<offset>[0-9a-f]{2,3}):(?P<values>(?: [0-9a-f]{2}){1,16})")
_FIELD = re.compile(r"(?P<key>[A-Z][A-Za-z]*(?: [A-Za-z0-9]+){0,3}): *(?P<value>.*)")
_CAPABILITY = re.compile(r"Capabilities: (?P<text>.*)")
_REGION = re.compile(
    r"(?P<key>Region \d+|Expansion ROM)(?::| (?=at )) *(?P<what>.*?) *(?:\bat (?P<address>\S+)(?P<rest>.*))?"
)
_FLAG = re.compile(r"(?P<name>[<>]?[A-Za-z0-9/]+)(?P<value>[+-]|=\S+)")
# After the first capability only these lines are of the first level again; "Status: D0 ..." belongs to a capability.
_LAST_FIELDS = ("Kernel driver in use", "Kernel modules")


@dataclass(frozen=True)
class Region:
    """A base address register as lspci tells it: what it is, where (None: not assigned), and what follows."""

    what: str
    address: int | None
    rest: str

    @property
    def nature(self) -> str:
        """Everything but the address."""
        return f"{self.what} {self.rest}".strip()


@dataclass(frozen=True)
class Capability:
    """A capability: its line (offset and name) and the lines under it."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """One device of an lspci listing.

    ``fields`` are the lines of the form ``Key: value`` that have no place of their own; ``flags`` the words of Control
    and Status, such as ``{"Control": {"I/O": "+"}}``; ``config`` the hexdump: bytes by their offset; ``unread`` the
    lines that were not understood.
    """

    slot: str
    class_name: str
    name: str
    revision: str | None
    interface: str | None
    fields: dict[str, str] = field(default_factory=dict)
    flags: dict[str, dict[str, str]] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()
    config: dict[int, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def parse(text: str) -> Listing:
    """Read a listing of exactly one device; raises ValueError, in one sentence, for anything else."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError("the listing is empty")
    header = _HEADER.fullmatch(lines[0])
    if header is None:
        raise ValueError(f'the listing begins with "{lines[0]}" instead of a device')
    listing = Listing(header["slot"], header["class_name"], header["name"], header["revision"], header["interface"])
    capabilities: list[Capability] = []
    unread: list[str] = []
    wrapped: dict[str, str] | None = None  # the flags that the next line may go on with
    for line in lines[1:]:
        flags, wrapped = wrapped, None
        entry = _FIELD.fullmatch(line)
        if _HEADER.fullmatch(line):
            raise ValueError(f'the listing holds a second device, "{line}"')
        if dump := _BYTES.fullmatch(line):
            listing.config.update(enumerate(bytes.fromhex(dump["values"]), int(dump["offset"], 16)))
        elif capability := _CAPABILITY.fullmatch(line):
            capabilities.append(Capability(capability["text"]))
        elif capabilities and not (entry and entry["key"] in _LAST_FIELDS):
            capabilities[-1] = replace(capabilities[-1], lines=(*capabilities[-1].lines, line))
        elif region := _REGION.fullmatch(line):
            listing.regions[region["key"]] = _region(region)
        elif entry and entry["key"] in FLAG_FIELDS:
            wrapped = listing.flags.setdefault(entry["key"], {})
            wrapped.update(_flags(entry["value"]))
        elif entry:
            listing.fields[entry["key"]] = entry["value"]
        elif flags is not None and all(_FLAG.fullmatch(word) for word in line.split()):
            flags.update(_flags(line))
            wrapped = flags
        else:
            unread.append(line)
    return replace(listing, capabilities=tuple(capabilities), unread=tuple(unread))


def _region(match: re.Match[str]) -> Region:
    address = match["address"]
    assigned = bool(address) and re.fullmatch(r"[0-9a-f]+", address) is not None
    return Region(match["what"], int(address, 16) if assigned else None, (match["rest"] or "").strip())


def _flags(text: str) -> dict[str, str]:
    found = (_FLAG.fullmatch(word) for word in text.split())
    return {match["name"]: match["value"] for match in found if match}
