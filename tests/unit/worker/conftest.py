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
from tests.unit.worker.fake_sysfs import Machine

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
    """A made machine: a serial card, edu, three functions behind a bridge, a card with virtual functions, mtty."""
    machine = Machine(tmp_path / "machine").make()
    machine.driver("serial", ["1b36:0002", "1b36:0003"])
    machine.driver("shpchp", ["1b36:000e"])
    machine.driver("pcieport", [])
    machine.driver("igb", ["8086:10c9"])
    machine.driver("igbvf", ["8086:10ca"])
    machine.driver("e1000", ["8086:100e"])
    machine.add("0000:00:04.0", "1b36:000c", 4, driver="pcieport", klass="060400", secondary_bus_number="2")
    machine.add("0000:00:05.0", "1b36:0002", 5, driver="serial", klass="070002")
    machine.add("0000:00:06.0", "1234:11e8", 6)
    machine.add("0000:00:07.0", "1b36:000e", 7, driver="shpchp", klass="060400", secondary_bus_number="1")
    machine.add("0000:01:01.0", "1b36:0003", 7, driver="serial", klass="070002", behind="0000:00:07.0")
    machine.add("0000:01:02.0", "8086:100e", 7, driver="e1000", klass="020000", behind="0000:00:07.0")
    machine.add("0000:01:02.1", "1b36:0010", 7, behind="0000:00:07.0", driver_override="kept")
    sriov = {"sriov_totalvfs": "7", "sriov_numvfs": "0", "sriov_drivers_autoprobe": "1"}
    machine.add("0000:00:08.0", "8086:10c9", 8, driver="igb", klass="020000", **sriov)
    machine.parent("mtty")
    return machine
