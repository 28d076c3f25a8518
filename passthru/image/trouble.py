# SPDX-License-Identifier: GPL-2.0-or-later
"""Turns what a filesystem says about the cache into one sentence: what failed, where, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELSEWHERE = "set PASSTHRU_CACHE to a directory where there is room and you may write"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def cache_trouble(root: Path, doing: str) -> Iterator[None]:
    """Raise Unusable for an OSError of the cache at ``root`` while ``doing`` ("cannot keep QEMU of sid")."""
    try:
        yield
    except OSError as error:
        raise Unusable(f"{doing}: {_reason(error, root)}") from error


def _reason(error: OSError, root: Path) -> str:
    if error.errno in _FULL:
        why = {errno.EDQUOT: "your disk quota is used up", errno.EFBIG: "a file would grow over the allowed size"}
        full = why.get(error.errno or 0, "the disk is full")
        return f"{full} at the cache {root}; free some space with `passthru cache prune`, or {ELSEWHERE}"
    if error.errno in _CLOSED:
        return f"this user may not use the cache {root}; {ELSEWHERE}"
    if error.errno == errno.EROFS:
        return f"the cache {root} is on a read-only filesystem; {ELSEWHERE}"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"the cache path {root} or a part of it is a file and no directory; {ELSEWHERE}"
    named = f" ({error.filename})" if error.filename else ""
    return f"the cache {root} cannot be used: {error.strerror or error}{named}; {ELSEWHERE}"
