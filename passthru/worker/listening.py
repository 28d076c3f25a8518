# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether somebody listens at a UNIX socket, and waiting until somebody does: for servers that make their own sockets.

Nothing here connects where it can be helped: there are servers that serve one client and end with it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat

from passthru.worker.processes import all_processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# <linux/net.h> and <net/sock.h>, as /proc/net/unix shows them.
_ACCEPTS_CONNECTIONS = 0x10000
_UNCONNECTED = 1
# <linux/inotify.h>
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_EVENTS = 1 << 16

# bind(2) makes the path and is noticed; listen(2), a moment later, is not, so that moment is looked at again and again.
_SOON = 0.002
# Where the kernel gives no inotify instance (fs.inotify.max_user_instances).
_UNNOTICED = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


def listens(path: str) -> bool:
    """Whether a process accepts connections at the UNIX stream socket ``path``."""
    if not _is_socket(path):
        return False
    states = [listening for listening, _ in _bound(path)]
    if states:
        return any(states)
    # Left over, or bound in another network namespace, such as a container's.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
    return True


def remove_left_over(path: str) -> None:
    """Remove the socket ``path`` of a server that was killed, unless somebody listens there by now. Raises OSError."""
    if _is_socket(path) and not listens(path):
        os.unlink(path)  # noqa: PTH108


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return False


def _bound(path: str) -> Iterator[tuple[bool, str]]:
    """For each socket of this network namespace that is bound to ``path`` and not connected: whether it listens, and
    its inode."""
    name = os.path.basename(path)  # noqa: PTH119
    try:
        with open("/proc/net/unix", "rb") as file:  # noqa: PTH123
            lines = file.read().decode(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines[1:]:
        fields = line.split(None, 7)
        if len(fields) < 8 or not fields[7].endswith(name) or int(fields[5], 16) != _UNCONNECTED:
            continue
        if path.endswith(f"/{fields[7].removeprefix('./')}") or fields[7] == path or _is_same(fields[7], path):
            yield bool(int(fields[3], 16) & _ACCEPTS_CONNECTIONS), fields[6]


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.isabs(one) and os.path.samefile(one, other)  # noqa: PTH117, PTH121
    except OSError:
        return False


class Listeners:
    """Processes that are not ours and listen at sockets; its descriptors are readable when one of them has ended."""

    def __init__(self) -> None:
        self._watched: dict[int, str] = {}  # pidfd -> path

    def watch(self, path: str) -> list[int]:
        """Watch who listens at ``path``; returns the descriptors, none where it is hidden (another user's process)."""
        inodes = {f"socket:[{inode}]" for listening, inode in _bound(path) if listening}
        found = []
        for pid in all_processes():
            try:
                if inodes and _holds(pid, inodes):
                    found.append(os.pidfd_open(pid))
            except OSError:
                continue  # gone, or not ours to look into
        self._watched.update(dict.fromkeys(found, path))
        return found

    def ended(self, descriptor: int) -> str | None:
        """Forget one that has ended; returns the path at which nobody listens any more by that."""
        path = self._watched.pop(descriptor)
        os.close(descriptor)
        return None if path in self._watched.values() else path


def _holds(pid: int, links: set[str]) -> bool:
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):  # noqa: PTH208
        try:
            if os.readlink(f"{directory}/{name}") in links:  # noqa: PTH115
                return True
        except OSError:
            continue
    return False


class Awaited:
    """The sockets that requests wait for; its descriptor is readable when it is time to look."""

    def __init__(self) -> None:
        """Nothing is opened before the first wait."""
        self._inotify = -1
        self._paths: dict[object, str] = {}

    def fileno(self) -> int:
        """The descriptor to watch; -1 while there is none."""
        return self._inotify

    def add(self, request: object, path: str) -> None:
        """Let the request with this id wait. Raises OSError where the directory of ``path`` cannot be watched."""
        if self._inotify < 0:
            self._inotify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify >= 0:
            directory = os.path.dirname(path) or "."  # noqa: PTH120
            if _libc.inotify_add_watch(self._inotify, os.fsencode(directory), _IN_CREATE | _IN_MOVED_TO) < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), directory)
        self._paths[request] = path

    def done(self) -> list[object]:
        """The requests whose sockets somebody listens at by now; they wait no more."""
        if self._inotify >= 0:
            try:
                while os.read(self._inotify, _EVENTS):
                    pass
            except BlockingIOError:
                pass
        done = [request for request, path in self._paths.items() if listens(path)]
        for request in done:
            del self._paths[request]
        return done

    def seconds(self) -> float | None:
        """When to look again although the descriptor tells nothing; None: not before it does."""
        if not self._paths:
            return None
        if self._inotify < 0:
            return _UNNOTICED
        return _SOON if any(map(_is_socket, self._paths.values())) else None
