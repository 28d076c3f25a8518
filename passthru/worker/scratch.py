# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker's scratch directory: private, short enough for UNIX sockets, gone with the worker.

A worker holds a lock on ``.lock`` in its directory for as long as it lives. A directory whose lock is free was left by
a worker that was killed; the next worker of the same user removes it, with the processes that still carry its mark.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from passthru.worker.processes import kill_marked, mark_of
from passthru.worker.protocol import UNUSABLE, RequestError

# sizeof(sockaddr_un.sun_path), of which one byte ends the path (unix(7)).
SOCKET_PATH_SIZE = 108
# The longest name of a socket in it; see placeholders.NAME.
LONGEST_NAME = 32

_LOCK = ".lock"
_STRAY_SECONDS = 5.0


class Scratch:
    """A scratch directory and its lock."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    def socket_path(self, name: str) -> str:
        """Where the UNIX socket ``name`` is; shorter than 108 bytes."""
        return f"{self.path}/{name}"

    def remove(self) -> None:
        """Remove the directory with all that is in it, and give the lock back. Raises OSError."""
        try:
            remove_tree(self.path)
        finally:
            os.close(self._lock)


def make_scratch() -> Scratch:
    """A new directory, mode 0700, under the first of $TMPDIR, /tmp and /var/tmp that is short enough and writable.

    Raises RequestError naming each of them when there is none.
    """
    refusals = []
    for parent in candidates():
        own = f"{parent}/passthru-{os.getuid()}-{os.urandom(6).hex()}"
        if len(os.fsencode(own)) + 1 + LONGEST_NAME >= SOCKET_PATH_SIZE:
            refusals.append(f"{parent}: too long for the path of a UNIX socket")
            continue
        try:
            os.mkdir(own, 0o700)  # noqa: PTH102
            lock = _lock(own)
        except OSError as error:
            refusals.append(f"{parent}: {error.strerror}")
            continue
        if lock is not None:
            return Scratch(own, lock)
        refusals.append(f"{parent}: another worker took {own} away")
    raise RequestError(
        UNUSABLE, f"there is no place for a scratch directory ({'; '.join(refusals)}); set TMPDIR to a writable one"
    )


def candidates() -> list[str]:
    """The directories that may hold scratch directories, best first."""
    wanted = [os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"]
    return list(dict.fromkeys(place.rstrip("/") for place in wanted if place.startswith("/")))


def sweep() -> list[str]:
    """Remove the scratch directories that killed workers of this user left, and their last processes; tells which."""
    removed = []
    for parent in candidates():
        try:
            names = os.listdir(parent)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            if name.startswith(f"passthru-{os.getuid()}-"):
                path = f"{parent}/{name}"
                with contextlib.suppress(OSError):
                    if remove_if_stale(path):
                        removed.append(path)
    return removed


def remove_if_stale(path: str) -> bool:
    """Remove ``path``, a scratch directory, if its worker lives no more; False when it does. Raises OSError."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return False
    lock = _lock(path)
    if lock is None:
        return False
    try:
        kill_marked(mark_of(path), _STRAY_SECONDS)
        remove_tree(path)
    finally:
        os.close(lock)
    return True


def remove_tree(path: str) -> None:
    """Remove a directory and what it holds; symbolic links are removed, not followed. Raises OSError."""
    # By descriptors (openat, unlinkat): a directory that becomes a link in the meantime leads nowhere.
    for _, directories, files, here in os.fwalk(path, topdown=False, onerror=_raise):
        for name in files:
            os.unlink(name, dir_fd=here)
        for name in directories:
            try:
                os.rmdir(name, dir_fd=here)
            except NotADirectoryError:
                os.unlink(name, dir_fd=here)
    os.rmdir(path)  # noqa: PTH106


def _raise(error: OSError) -> None:
    raise error


def _lock(path: str) -> int | None:
    """The lock of a scratch directory, or None when another process has it or has removed the directory meanwhile."""
    try:
        lock = os.open(f"{path}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between our opening it and our locking it, somebody may have locked, removed and unlocked it.
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError:
        pass
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None
