# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes initramfs archives: cpio in the "newc" format.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
The same nodes give the same bytes, in whatever order they come: sorted, owned by root, without times, numbered anew.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class Node:
    """One name in the archive; ``path`` has no leading slash, ``data`` is a file's content or a link's target."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def directory(path: str, mode: int = 0o755) -> Node:
    """A directory."""
    return Node(path, stat.S_IFDIR | mode)


def file(path: str, data: bytes, *, executable: bool = False) -> Node:
    """A regular file."""
    return Node(path, stat.S_IFREG | (0o755 if executable else 0o644), data)


def link(path: str, target: str) -> Node:
    """A symbolic link."""
    return Node(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, mode: int = 0o600) -> Node:
    """A character device."""
    return Node(path, stat.S_IFCHR | mode, device=(major, minor))


def write(stream: BinaryIO, nodes: Iterable[Node]) -> None:
    """Write an archive of ``nodes``; the directories above them come by themselves, the last node of a path wins."""
    found = {node.path: node for node in nodes}
    for path in list(found):
        while "/" in path:
            path = path.rpartition("/")[0]
            found.setdefault(path, directory(path))
    for inode, path in enumerate(sorted(found), start=1):
        _put(stream, inode, found[path])
    _put(stream, 0, Node(_TRAILER, 0))


def _put(stream: BinaryIO, inode: int, node: Node) -> None:
    if len(node.data) > _LARGEST:
        raise ValueError(f"{node.path} is too large for a cpio archive")
    name = node.path.encode() + b"\0"
    fields = (
        inode,
        node.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(node.mode) else 1,  # links
        0,  # mtime
        len(node.data),
        0,  # major and minor of the device that holds it
        0,
        *node.device,
        len(name),
        0,  # no checksum in this format
    )
    header = _MAGIC + b"".join(b"%08X" % value for value in fields) + name
    stream.write(header + b"\0" * (-len(header) % 4))
    stream.write(node.data + b"\0" * (-len(node.data) % 4))
