# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker's children: QEMU and its companions, started, signalled, waited for and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from passthru.worker.launch import FIRST_INHERITED, find_program, launch, why_not
from passthru.worker.listening import remove_left_over
from passthru.worker.placeholders import checked_name, replaced
from passthru.worker.processes import MARK, children_of, kill_and_wait, kill_marked, mark_of, parent_and_state
from passthru.worker.protocol import REQUEST, UNUSABLE, RequestError
from passthru.worker.stream import close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from passthru.worker.scratch import Scratch
    from passthru.worker.stream import Message

# How long killed processes may take to die: none but those stuck in the kernel need any of it.
KILL_SECONDS = 5.0
_BACKLOG = 8


class Child:
    """One started program."""

    def __init__(self, number: int, name: str, pid: int) -> None:
        self.number = number
        self.name = name
        self.pid = pid
        self.running = True


class Children:
    """All children of one worker."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._children: dict[int, Child] = {}
        self._listeners: dict[str, Child] = {}
        self._made: list[str] = []

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        streams: Sequence[str],
        pipes: Sequence[str],
        listens: Sequence[str],
        output: str | int | None,
        directory: str | None = None,
        makes: Sequence[str] = (),
    ) -> tuple[Child, list[str], list[int]]:
        """Start a program; returns it, its arguments as they were passed, and our ends of its streams, in order, then
        of its pipes, two each: what it says, what it is told.

        It prints into ``output``, a path or a descriptor, and runs in ``directory``, or in the worker's. ``makes`` are
        sockets of its own, removed in the end. Raises RequestError; then nothing of it is left.
        """
        number = len(self._children)
        ours: list[int] = []
        inherited: list[int] = []
        numbers: dict[tuple[str, str], int] = {}
        for wanted in (*streams, *pipes, *listens):
            checked_name(wanted)

        def inherit(kind: str, wanted: str, fd: int) -> None:
            numbers[kind, wanted] = FIRST_INHERITED + len(inherited)
            inherited.append(fd)

        with contextlib.ExitStack() as undo, contextlib.ExitStack() as child_ends:
            undo.callback(close_all, ours)
            try:
                for stream in streams:
                    near, far = socket.socketpair()
                    ours.append(near.detach())
                    inherit("stream", stream, child_ends.enter_context(far).fileno())
                for pipe in pipes:
                    for kind, (read, write) in (("said", os.pipe()), ("told", os.pipe())):
                        near_fd, far_fd = (read, write) if kind == "said" else (write, read)
                        ours.append(near_fd)
                        child_ends.callback(os.close, far_fd)
                        inherit(kind, pipe, far_fd)
                for listen in listens:
                    inherit("listen", listen, child_ends.enter_context(self._listen(listen, undo)).fileno())
                final = [replaced(word, numbers, self._scratch.socket_path) for word in argv]
                environment = {**os.environ, **env, MARK: mark_of(self._scratch.path, number)}
                if directory is not None and not os.path.isdir(directory):  # noqa: PTH112
                    raise RequestError(UNUSABLE, f"there is no directory {directory} for it to run in")
                program = os.path.join(directory or "", find_program(final[0], environment))  # noqa: PTH118
                out = self._open_output(output, child_ends)
                try:
                    pid = launch(program, final, environment, inherited=inherited, output=out, directory=directory)
                except OSError as error:
                    raise RequestError(UNUSABLE, why_not(program, error)) from error
            except RequestError as error:
                raise RequestError(error.kind, f"cannot start {name}: {error}") from error
            except OSError as error:
                raise RequestError(UNUSABLE, f"cannot start {name}: {error}") from error
            undo.pop_all()
        child = Child(number, name, pid)
        self._children[number] = child
        self._made += makes
        self._listeners.update(dict.fromkeys(listens, child))
        return child, final, ours

    def signal(self, number: int, signum: int) -> None:
        """Send a signal to the process group of a child; nothing happens when the child has exited. RequestError."""
        child = self._child(number)
        if not child.running:
            return  # its process group's number may be another's by now
        try:
            os.killpg(child.pid, signum)
        except OSError as error:
            raise RequestError(
                UNUSABLE, f"cannot send signal {signum} to {child.name} (process {child.pid}): {error.strerror}"
            ) from error

    def kill(self, number: int) -> None:
        """SIGKILL a child, its process group, and its descendants wherever they went. Raises RequestError."""
        child = self._child(number)
        if child.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        left = kill_marked(mark_of(self._scratch.path, number), KILL_SECONDS)
        if left:
            raise RequestError(UNUSABLE, f"cannot kill {child.name}: {_described(left)} lived on")

    def reap(self) -> list[Message]:
        """Wait for whatever has died, adopted orphans too; returns the events of our own children's ends."""
        events = []
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                child = next((child for child in self._children.values() if child.running and child.pid == pid), None)
                if child:
                    child.running = False
                    event: Message = {"event": "exited", "child": child.number, "cpu": usage.ru_utime + usage.ru_stime}
                    if os.WIFSIGNALED(status):
                        event["signal"] = os.WTERMSIG(status)
                    else:
                        event["code"] = os.WEXITSTATUS(status)
                    events.append(event)
        return events

    def end(self, tell: Callable[[Message], None]) -> list[str]:
        """Kill every descendant, the latest children first; returns sentences about what could not be killed."""
        for child in reversed(self._children.values()):
            if child.running:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
        # Each death brings its orphans to us, the subreaper. When there is no child left, there is no descendant left.
        end = time.monotonic() + KILL_SECONDS
        while True:
            for event in self.reap():
                tell(event)
            descendants = children_of(os.getpid())
            if not descendants:
                return self._remove_made()
            left = kill_and_wait(descendants, end - time.monotonic())
            if left:
                return [f"could not kill {_described(left)}"]

    def _remove_made(self) -> list[str]:
        failed = []
        for path in self._made:
            try:
                remove_left_over(path)
            except OSError as error:
                failed.append(f"could not remove the socket {path}: {error.strerror}")
        return failed

    def _child(self, number: int) -> Child:
        try:
            return self._children[number]
        except KeyError:
            raise RequestError(REQUEST, f"there is no child {number}") from None

    def _listen(self, name: str, undo: contextlib.ExitStack) -> socket.socket:
        """A socket that accepts connections (the kernel queues them) before its owner runs."""
        path = self._scratch.socket_path(name)
        owner = self._listeners.get(name)
        if owner and owner.running:
            raise RequestError(REQUEST, f"{owner.name} listens on the socket {name!r} already")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 (of an earlier child)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
            undo.callback(os.unlink, path)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    @staticmethod
    def _open_output(path: str | int | None, cleanup: contextlib.ExitStack) -> int | None:
        if path is None or isinstance(path, int):
            return path
        try:
            output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RequestError(UNUSABLE, f"its output cannot be written to {path}: {error.strerror}") from error
        cleanup.callback(os.close, output)
        return output


def _described(pids: Sequence[int]) -> str:
    return "process " + ", ".join(f"{pid} (state {parent_and_state(pid)[1] or '?'})" for pid in pids)
