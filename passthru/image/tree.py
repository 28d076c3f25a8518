# SPDX-License-Identifier: GPL-2.0-or-later
"""Directory trees of cache entries: described, measured, synced and removed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below ``root`` as (relative path, lstat), sorted, directories before what they hold."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as found:
            names = sorted(item.name for item in found)
        below = []
        for name in names:
            path = f"{folder}/{name}" if folder else name
            info = (root / path).lstat()
            yield path, info
            if stat.S_ISDIR(info.st_mode):
                below.append(path)
        pending.extend(reversed(below))


def listing(root: Path) -> dict[str, str]:
    """What a tree is, without times and owners: path -> "dir", "link TARGET", "file SHA256" or "exec SHA256"."""
    described = {}
    for path, info in walk(root):
        if stat.S_ISDIR(info.st_mode):
            described[path] = "dir"
        elif stat.S_ISLNK(info.st_mode):
            described[path] = f"link {(root / path).readlink()}"
        elif stat.S_ISREG(info.st_mode):
            word = "exec" if info.st_mode & 0o100 else "file"
            described[path] = f"{word} {file_digest(root / path)}"
        else:
            raise Unusable(f"{root / path} is neither a file, a directory nor a link: the cache cannot keep it")
    return described


def file_digest(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_size(root: Path) -> int:
    """Bytes of all files below ``root``."""
    return sum(info.st_size for _, info in walk(root) if stat.S_ISREG(info.st_mode))


def sync_filesystem(path: Path) -> None:
    """Wait until the filesystem that holds ``path`` is on its disk: one syncfs(2) instead of an fsync for each file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)


def remove(root: Path) -> None:
    """Remove a tree, directories without write permission too; what vanishes meanwhile is no error."""
    try:
        info = root.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        root.unlink(missing_ok=True)
        return
    if info.st_mode & 0o700 != 0o700:
        root.chmod(0o700)
    try:
        below = list(root.iterdir())
    except FileNotFoundError:
        return
    for path in below:
        remove(path)
    try:
        root.rmdir()
    except FileNotFoundError:
        return
