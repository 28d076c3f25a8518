# SPDX-License-Identifier: GPL-2.0-or-later
"""The files below /lib/modules/RELEASE that modprobe reads, written without depmod: it would have to run somewhere.

busybox reads the texts, kmod their indices: tries in big-endian (kmod: libkmod/libkmod-index.h, tools/depmod.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passthru.image.modules import Module

_MAGIC = 0xB007F457
_VERSION = 0x00020001
_PREFIX, _VALUES, _CHILDREN = 0x80000000, 0x40000000, 0x20000000


def index_files(modules: Sequence[Module], builtin: Iterable[str] = ()) -> dict[str, bytes]:
    """Name -> content: modules.dep, .alias, .softdep, .order, .builtin and the indices of those that have one.

    ``builtin`` are modules of the kernel's that need not be loaded: who asks modprobe for one is not refused.
    """
    there = sorted(builtin)
    paths = {module.name: module.path for module in modules}
    deps = [
        (module.name, f"{module.path}:{''.join(f' {paths[name]}' for name in _all(module, modules))}")
        for module in modules
    ]
    aliases = [(alias, module.name) for module in modules for alias in module.aliases]
    return {
        "modules.dep": _lines(line for _, line in deps),
        "modules.dep.bin": trie(deps),
        "modules.alias": _lines(f"alias {alias} {name}" for alias, name in aliases),
        "modules.alias.bin": trie([(_underscored(alias), name) for alias, name in aliases]),
        "modules.softdep": b"",  # the order to load them is settled already
        "modules.symbols.bin": trie([]),
        "modules.order": _lines(module.path for module in modules),
        "modules.builtin": _lines(f"kernel/{name}.ko" for name in there),
        "modules.builtin.bin": trie([(name, "") for name in there]),
    }


def _all(module: Module, modules: Sequence[Module]) -> list[str]:
    """All that a module depends on, the nearest first, as modprobe wants it."""
    known = {other.name: other for other in modules}
    found: list[str] = []
    pending = list(module.depends)
    while pending:
        name = pending.pop(0)
        if name in found:
            found.remove(name)  # needed by a later one too: so it is loaded before both
        found.append(name)
        pending += known[name].depends
    return found


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _underscored(alias: str) -> str:
    """Dashes as underscores, but not within [brackets] (kmod: alias_normalize)."""
    inside = False
    out = []
    for letter in alias:
        inside = letter == "[" or (inside and letter != "]")
        out.append("_" if letter == "-" and not inside else letter)
    return "".join(out)


@dataclass
class _Node:
    children: dict[int, _Node] = field(default_factory=dict)
    values: list[tuple[int, str]] = field(default_factory=list)


def trie(pairs: Sequence[tuple[str, str]]) -> bytes:
    """An index from keys to values, in the order of their priority."""
    root = _Node()
    for priority, (key, value) in enumerate(pairs):
        node = root
        for byte in key.encode():
            node = node.children.setdefault(byte, _Node())
        node.values.append((priority, value))
    out = bytearray(struct.pack(">III", _MAGIC, _VERSION, 0))
    struct.pack_into(">I", out, 8, _put(root, out))
    return bytes(out)


def _put(node: _Node, out: bytearray) -> int:
    """Append a node behind its children; returns its offset and flags."""
    prefix = bytearray()
    while len(node.children) == 1 and not node.values:
        ((byte, node),) = node.children.items()
        prefix.append(byte)
    below = {byte: _put(child, out) for byte, child in sorted(node.children.items())}
    offset = len(out)
    if prefix:
        offset |= _PREFIX
        out += prefix + b"\0"
    if below:
        offset |= _CHILDREN
        first, last = min(below), max(below)
        out += bytes((first, last))
        for byte in range(first, last + 1):
            out += struct.pack(">I", below.get(byte, 0))
    if node.values:
        offset |= _VALUES
        out += struct.pack(">I", len(node.values))
        for priority, value in node.values:
            out += struct.pack(">I", priority) + value.encode() + b"\0"
    return offset
