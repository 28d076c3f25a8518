# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal: what is about to be changed, on disk before it is changed.

One file for each worker that changes anything, JSON lines. The first names the boot; then a step as it was before it
was begun, or {"undone": its number}. The owner holds a lock (flock) on the file as long as it lives, so a file whose
lock is free belongs to a dead owner. Whether a step that stands in a dead owner's journal was really done is seen by
the machine's state, not by the journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from passthru.worker.devices.system import System

    Step = dict[str, Any]

_PREFIX, _SUFFIX = "worker-", ".jsonl"
_VERSION = 1


class Journal:
    """One file, locked and open; made at the first step of its owner."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def write(self, record: Step) -> None:
        """Append a record; it is on the disk when this returns. Raises OSError."""
        data = json.dumps(record).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)

    def remove(self) -> None:
        """Remove the file: nothing is left to undo. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108
        self.close()

    def close(self) -> None:
        """Give the lock back; what still stands in the file is left to `recover`."""
        os.close(self._fd)


def new_journal(system: System) -> Journal:
    """A journal of this process, with its first line. Raises OSError where the state directory cannot be written."""
    make_state(system)
    path = f"{system.state}/{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
    journal = Journal(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600))
    fcntl.flock(journal._fd, fcntl.LOCK_EX)
    journal.write({"passthru": _VERSION, "boot": system.boot, "pid": os.getpid()})
    directory = os.open(system.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return journal


def make_state(system: System) -> None:
    """Make the state directory, mode 0700. Raises OSError, PermissionError where it is another user's."""
    os.makedirs(system.state, 0o700, exist_ok=True)  # noqa: PTH103
    status = os.lstat(system.state)
    if status.st_uid != os.getuid() or stat.S_ISLNK(status.st_mode):
        raise PermissionError(1, f"it belongs to user {status.st_uid}, or is a link", system.state)


def dead_journals(system: System, *, wait: bool = False) -> Iterator[tuple[Journal, list[Step]]]:
    """The journals of owners that live no more, each locked, with its lines; the caller removes or closes them.

    With ``wait`` those too that somebody just looks at, or recovers.
    """
    for name in _names(system):
        path = f"{system.state}/{name}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # removed by its owner meanwhile, or not ours to read
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not wait or _lives(path):
                os.close(fd)
                continue
            fcntl.flock(fd, fcntl.LOCK_EX)
        if not os.fstat(fd).st_nlink:  # undone and removed between our opening it and our locking it
            os.close(fd)
            continue
        yield Journal(path, fd), read_lines(path)


def read_lines(path: str) -> list[Step]:
    """The records of a journal. A last line that was cut short is none: what it announced was not begun."""
    records = []
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []  # its owner has just removed it
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def left_of(lines: list[Step]) -> list[Step]:
    """The steps of a journal that are not marked as undone."""
    undone = {line["undone"] for line in lines if "undone" in line}
    return [line for line in lines if "step" in line and line["step"] not in undone]


def others(system: System) -> dict[str, int]:
    """The devices that other living workers of this user have changed, each with its worker's process id."""
    found: dict[str, int] = {}
    for name in _names(system):
        path = f"{system.state}/{name}"
        if name.startswith(f"{_PREFIX}{os.getpid()}-") or not _is_locked(path):
            continue
        lines = read_lines(path)
        for step in left_of(lines):
            if step["owner"]:
                found[step["target"]] = lines[0]["pid"]
    return found


def _lives(path: str) -> bool:
    """Whether there is a process with the owner's number; a lock that outlives it is held by somebody who looks."""
    lines = read_lines(path)
    return not lines or os.path.exists(f"/proc/{lines[0].get('pid')}")  # noqa: PTH110


def _is_locked(path: str) -> bool:
    """Whether the owner of a journal lives."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _names(system: System) -> list[str]:
    try:
        names = os.listdir(system.state)  # noqa: PTH208
    except OSError:
        return []
    return sorted(name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
