# SPDX-License-Identifier: GPL-2.0-or-later
"""A real worker process, driven frame by frame, and what observes its children."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.stream import FramedStream
from tests.unit.worker.fake_sysfs import Machine, usual_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.worker.stream import Message

SECONDS = 20.0


class RawWorker:
    """A worker started by its command line, and the other end of its stream."""

    def __init__(self, scratch_parent: Path, *inherited: int) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours.dup()
        self.stream = FramedStream(ours.detach())
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "passthru.worker", "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *inherited],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"TMPDIR": str(scratch_parent)},
            )
        self._number = 0
        self._messages: list[tuple[Message, list[int]]] = []
        self.events: list[Message] = []

    def next_message(self) -> tuple[Message, list[int]]:
        """The next message; fails after a while, EOFError at the end."""
        end = time.monotonic() + SECONDS
        while not self._messages:
            poll = select.poll()
            poll.register(self.stream, select.POLLIN)
            assert poll.poll(max(0.0, end - time.monotonic()) * 1000), "the worker said nothing"
            self._messages += self.stream.receive()
        return self._messages.pop(0)

    def ask(self, do: str, **arguments: Any) -> tuple[Message, list[int]]:
        """The reply to a request and its descriptors; events that come before it are kept."""
        self._number += 1
        self.stream.send({"id": self._number, "do": do, **arguments})
        while True:
            message, fds = self.next_message()
            if message.get("id") == self._number:
                return message, fds
            self.events.append(message)

    def start(self, *argv: str, **arguments: Any) -> tuple[Message, list[int]]:
        """The ok of ``start`` and the streams."""
        defaults: Message = {"name": "child", "env": {}, "streams": [], "listens": [], "output": None}
        reply, fds = self.ask("start", argv=list(argv), **(defaults | arguments))
        assert "ok" in reply, reply
        return reply["ok"], fds

    def event(self, kind: str) -> Message:
        """The next event of this kind."""
        while True:
            for event in self.events:
                if event["event"] == kind:
                    self.events.remove(event)
                    return event
            self.events.append(self.next_message()[0])

    def hang_up(self) -> None:
        """End the stream."""
        self.stream.close()
        self.socket.close()

    def stop(self) -> None:
        """End it whatever happened."""
        self.hang_up()
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a path short enough for a scratch directory, which pytest's own is not always."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def start_worker(place: Path) -> Iterator[Callable[..., RawWorker]]:
    workers: list[RawWorker] = []

    def start(*inherited: int) -> RawWorker:
        workers.append(RawWorker(place, *inherited))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def worker(start_worker: Callable[..., RawWorker]) -> RawWorker:
    return start_worker()


@pytest.fixture
def dies() -> Callable[[int], bool]:
    """Whether a process is dead, or dies soon: waits for its end, whosever child it is."""

    def dies(pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            return bool(poll.poll(SECONDS * 1000))
        finally:
            os.close(pidfd)

    return dies


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return usual_machine(tmp_path / "machine")
