# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-only block images: a directory tree as an erofs filesystem in one file of the cache.

They are made by Debian's mkfs.erofs out of a private root, so that this machine needs no tools and no root, and the
same tree gives the same bytes anywhere. They are not compressed: an emulated processor takes longer to unpack a page
than this machine to hand it over.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.events import Progress
from passthru.image.arch import machine_arch
from passthru.image.command import CommandFailed, run
from passthru.image.debian import packages_root, pins_of
from passthru.image.kbuild.private_root import PrivateRoot, write_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.cpio import Node
    from passthru.image.store import Build, Entry, Key, Store

KIND = "block"
FILE = "image.erofs"
FILESYSTEM = "erofs"

_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""

_SUITE = "bookworm"
_PACKAGE = "erofs-utils"
_UUID = "70617373-7468-7275-0000-000000000000"
_SECONDS = 600.0

# -T0: no times; -x-1: no extended attributes, which belong to the cache's filesystem.
_OPTIONS = ("-T0", "--all-root", "-x-1", f"-U{_UUID}", "--quiet")


def tools(store: Store, tell: Tell, *, pin: Mapping[str, Any] | None = None, update: bool = False) -> Entry:
    """The root that holds mkfs.erofs. Raises what debian.packages_root() raises."""
    found = store.pinned(pin) if pin else None
    return found or packages_root(
        _SUITE,
        [_PACKAGE],
        machine_arch(),
        store,
        tell,
        pins=pins_of(pin) if pin else None,
        what="mkfs.erofs of Debian",
        update=update,
    )


def block_image(
    key: Key,
    fill: Build,
    made_by: Entry,
    store: Store,
    tell: Tell,
    *,
    what: str,
) -> Entry:
    """The image of the tree that ``fill`` makes in an empty directory, built once for ``key``; see image_file().

    ``made_by`` is tools(). What ``fill`` returns becomes the entry's facts. Raises Unusable.
    """

    def build(place: Path) -> Mapping[str, object] | None:
        tell(Progress(f"building {what}", 0, 2, "steps"))
        with store.scratch() as scratch:
            tree = scratch / "tree"
            tree.mkdir()
            facts = fill(tree)
            tell(Progress(f"building {what}", 1, 2, "steps"))
            _pack(tree, place / FILE, made_by, scratch, what)
        tell(Progress(f"building {what}", 2, 2, "steps", finished=True))
        return facts

    return store.entry(KIND, {**key, "packer": _BUILDER, "tools": made_by.digest}, build, tell, what=what)


def image_file(entry: Entry) -> Path:
    """The image in an entry of block_image()."""
    return entry.path / FILE


def write_nodes(nodes: Iterable[Node], root: Path) -> None:
    """Write files, links and directories below ``root``; the last node of a path wins."""
    for node in {node.path: node for node in nodes}.values():
        path = root / node.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(node.mode):
            path.mkdir(exist_ok=True)
        elif stat.S_ISLNK(node.mode):
            path.symlink_to(node.data.decode())
        else:
            path.write_bytes(node.data)
            path.chmod(stat.S_IMODE(node.mode))


def _pack(tree: Path, image: Path, made_by: Entry, scratch: Path, what: str) -> None:
    program = PrivateRoot(made_by.path).start(made_by.path / "usr/bin/mkfs.erofs")
    try:
        run([write_script(scratch / "mkfs.erofs", program), *_OPTIONS, image, tree], seconds=_SECONDS)
    except CommandFailed as failed:
        raise Unusable(
            f"{what} cannot be made: mkfs.erofs says {failed.last_words!r}; make room in the cache, or remove "
            f"{made_by.path.parent} so that it is fetched anew"
        ) from failed
