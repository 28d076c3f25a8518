# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes files out of an unpacked root as they would be seen from inside it: links resolved there, libraries along."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.image import cpio
from passthru.image.elf import NotElf, needs
from passthru.image.tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_MOST_LINKS = 40
_APPLET = re.compile(rb"\[?\[|[a-z0-9][a-z0-9_.+-]*")


def matching(root: Path, patterns: Sequence[str]) -> list[cpio.Node]:
    """Nodes for all that matches ``patterns`` below ``root``; see take()."""
    there = [PurePosixPath("/", path) for path, _ in walk(root)]  # glob() would follow links to this machine's files
    paths: list[str] = []
    for pattern in patterns:
        hits = [str(path)[1:] for path in there if path.match(f"/{pattern}")]
        if not hits:
            raise Unusable(f"the packages hold no {pattern}, which the image recipe takes; correct the recipe")
        paths += hits
    return take(root, paths)


def take(root: Path, paths: Iterable[str]) -> list[cpio.Node]:
    """Nodes for files of ``root``, with the links on the way to them and the libraries they need."""
    found: dict[str, cpio.Node] = {}
    for path in paths:
        _take(root, path, found)
    return list(found.values())


def applets(binary: bytes) -> list[str]:
    """The applet names in a busybox binary: its sorted table begins with ``[`` and ``[[``; read, not run.

    So it works for another architecture too, and the same binary gives the same names.
    """
    begin = binary.find(b"\0[\0[[\0") + 1
    if begin == 0:
        raise Unusable("the recipe's applets are of no busybox: no table of applet names was found in it")
    names: list[bytes] = []
    for name in binary[begin : begin + 65536].split(b"\0"):
        if not _APPLET.fullmatch(name) or (names and name <= names[-1]):
            break
        names.append(name)
    return [name.decode() for name in names]


def applet_links(binary: str, nodes: Sequence[cpio.Node]) -> list[cpio.Node]:
    """A link beside ``binary`` for each applet in it, except where ``nodes`` have a program of that name."""
    data = next((node.data for node in nodes if node.path == binary), b"")
    there = {node.path.rpartition("/")[2] for node in nodes if node.path.startswith(("usr/bin/", "usr/sbin/"))}
    folder, _, name = binary.rpartition("/")
    return [cpio.link(f"{folder}/{applet}", name) for applet in applets(data) if applet not in there]


def _take(root: Path, path: str, found: dict[str, cpio.Node]) -> None:
    place = _follow(root, path, found)
    if place is None:
        raise Unusable(f"/{path} is missing in the packages' root {root}; add its package to the image recipe")
    if place in found:
        return
    real = root / place
    if real.is_dir():
        found[place] = cpio.directory(place)
        for child in sorted(real.iterdir()):
            _take(root, f"{place}/{child.name}", found)
        return
    data = real.read_bytes()
    found[place] = cpio.file(place, data, executable=bool(real.stat().st_mode & 0o100))
    try:
        needed = needs(data)
    except NotElf:
        return
    if needed.loader:
        _take(root, needed.loader.lstrip("/"), found)
    for library in needed.libraries:
        _take(root, _library(root, library, place), found)


def _library(root: Path, name: str, user: str) -> str:
    folders = [*sorted((root / "usr/lib").glob("*-linux-*")), root / "usr/lib", root / "usr/lib64"]
    place = next((folder / name for folder in folders if os.path.lexists(folder / name)), None)
    if place is None:
        raise Unusable(
            f"/{user} needs the library {name}, which none of the packages holds; add its package to the recipe"
        )
    return str(place.relative_to(root))


def _follow(root: Path, path: str, found: dict[str, cpio.Node]) -> str | None:
    """The real place of ``path`` inside ``root``; the links on the way go to ``found``. None if it is missing."""
    pending = path.split("/")
    real = ""
    links = 0
    while pending:
        word = pending.pop(0)
        step = posixpath.normpath(posixpath.join("/", real, word)).lstrip("/")
        here = root / step
        if not here.is_symlink():
            if not here.exists():
                return None
            real = step
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        target = str(here.readlink())
        found[step] = cpio.link(step, target)
        if target.startswith("/"):
            real = ""
        pending = [part for part in target.split("/") if part] + pending
    return real
