# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding and ending processes, the ones too that have left their parent, their group and their session.

A descendant is known by two signs. Orphans come to the worker, which is their subreaper: it sees them as its children.
And each child carries a mark in its environment, which its own children inherit: by it one child's descendants are told
from another's, and those of a worker that was killed are still found.
"""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the environment of every child: "<name of the worker's scratch directory>/<number of the child>".
MARK = "PASSTHRU_WORKER"


def mark_of(scratch: str, child: int | None = None) -> str:
    """The mark of one child of the worker with this scratch directory, or what all of its marks begin with."""
    return f"{os.path.basename(scratch)}/{'' if child is None else child}"  # noqa: PTH119 (pathlib is slow to import)


def all_processes() -> list[int]:
    """Every process id that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def children_of(parent: int) -> list[int]:
    """The living and dead (not yet waited for) children of ``parent``."""
    return [pid for pid in all_processes() if parent_and_state(pid)[0] == parent]


def parent_and_state(pid: int) -> tuple[int, str]:
    """The parent and the state letter of proc_pid_stat(5); (0, "") when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            # The name, in parentheses, may hold anything, parentheses and blanks too.
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return 0, ""
    return int(parent), state.decode()


def is_marked(pid: int, mark: str) -> bool:
    """The process lives and its environment holds this mark; a mark that ends in "/" stands for all of that worker."""
    wanted = f"\0{MARK}={mark}".encode() + (b"" if mark.endswith("/") else b"\0")
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return wanted in b"\0" + file.read() + b"\0"
    except OSError:  # gone, or not ours to look into
        return False


def kill_and_wait(pids: Iterable[int], seconds: float) -> list[int]:
    """SIGKILL each of ``pids`` and wait for the deaths, at most ``seconds``; returns those that live on.

    Dead is what has no thread left, waited for or not: the state in /proc tells of the first thread only.
    """
    end = time.monotonic() + seconds
    waiting: dict[int, int] = {}  # pidfd -> process id
    poll = select.poll()
    try:
        for pid in pids:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            waiting[pidfd] = pid
            poll.register(pidfd, select.POLLIN)
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except OSError:
                continue  # just died, or not ours to kill: then it stays among the survivors
        while waiting and (left := end - time.monotonic()) > 0:
            for pidfd, _ in poll.poll(left * 1000):
                poll.unregister(pidfd)
                os.close(pidfd)
                del waiting[pidfd]
        return sorted(waiting.values())
    finally:
        for pidfd in waiting:
            os.close(pidfd)


def kill_marked(mark: str, seconds: float) -> list[int]:
    """SIGKILL every process with this mark until there is none: what is killed may have forked just before.

    Waits for the deaths, at most ``seconds``; returns the process ids that live on.
    """
    end = time.monotonic() + seconds
    while pids := [pid for pid in all_processes() if is_marked(pid, mark)]:
        if left := kill_and_wait(pids, end - time.monotonic()):
            return left
    return []
