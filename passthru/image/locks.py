# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks that the kernel frees when their holder dies, however it dies.

flock(2) of the standard library, since the first user (ci/make_venv.py) runs before anything is installed, and since
the cache needs shared locks too. Descriptors are not inherited: a child never keeps its parent's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_POLL_SECONDS = 0.05


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A locked descriptor of an existing file or directory; None if it is held by another or just vanished."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        here = path.stat()
        there = os.fstat(fd)
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


@contextlib.contextmanager
def held(path: Path, *, on_wait: Callable[[], None], what: str, seconds: float = 3600.0) -> Iterator[None]:
    """Hold the lock file ``path`` (made for it, removed after it) exclusively.

    ``on_wait`` is called once when another process holds it; after ``seconds`` the wait ends with Unusable.
    """
    fd = _acquire(path, on_wait, what, time.monotonic() + seconds)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # safe while it is held: try_lock tells a lock file that is gone from one that stays
        os.close(fd)


def _acquire(path: Path, on_wait: Callable[[], None], what: str, until: float) -> int:
    waited = False
    while True:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o666))
        fd = try_lock(path)
        if fd is not None:
            return fd
        if time.monotonic() > until:
            raise Unusable(
                f"another process has been busy with {what} for too long (lock {path}); end it and try again"
            )
        if not waited:
            waited = True
            on_wait()
        time.sleep(_POLL_SECONDS)  # flock has no time-out of its own; bounded by ``until``
