# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams of children that leave by ports. A port here is one end of a socket pair, of which the test has the other."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING

import pytest

from passthru.worker.ports import Relays, open_port
from passthru.worker.protocol import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = 7
MUCH = bytes(range(256)) * 4096


class Wire:
    """A relay between a child's stream and a port, and the far ends of both."""

    def __init__(self, *, pipes: bool = False) -> None:
        self.relays = Relays()
        self.outside, port = socket.socketpair()
        self.port = port.detach()
        os.set_blocking(self.port, False)
        if pipes:
            (said, self.says), (self.hears, told) = os.pipe(), os.pipe()
        else:
            child, ours = socket.socketpair()
            said = told = ours.detach()
            self.says = self.hears = child.detach()
        self.ends = (said, told)

    def connect(self) -> None:
        self.relays.connect(CHILD, [self.ends], [self.port])

    def pump_until(self, readable: int) -> None:
        """Pump until ``readable`` has something."""
        poll = select.poll()
        poll.register(readable, select.POLLIN)
        for _ in range(1000):
            if poll.poll(0):
                return
            assert select.select([self.relays], [], [], 10)[0]
            self.relays.pump()
        raise AssertionError("nothing came")

    def close(self) -> None:
        self.relays.end(CHILD)
        self.outside.close()
        for fd in {self.port, self.says, self.hears} - {-1}:
            os.close(fd)


@pytest.fixture(params=[False, True], ids=["socket", "pipes"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wire = Wire(pipes=request.param)
    yield wire
    wire.close()


def test_bytes_go_both_ways(wire: Wire) -> None:
    wire.connect()
    os.write(wire.says, b"from the child")
    wire.pump_until(wire.outside.fileno())
    assert wire.outside.recv(100) == b"from the child"
    wire.outside.send(b"to the child")
    wire.pump_until(wire.hears)
    assert os.read(wire.hears, 100) == b"to the child"


def test_what_a_child_says_last_is_carried_before_its_end(wire: Wire) -> None:
    wire.connect()
    os.write(wire.says, b"last words")
    os.close(wire.says)
    if wire.hears == wire.says:
        wire.hears = -1
    wire.says = -1
    wire.relays.end(CHILD)
    assert wire.outside.recv(100) == b"last words"


def test_nothing_is_lost_while_nobody_reads_outside(wire: Wire) -> None:
    """More than all buffers hold: the child waits, and so do we, without turning in circles."""
    wire.connect()
    os.set_blocking(wire.says, False)
    sent = received = b""
    while sent != MUCH or received != MUCH:
        try:
            sent += MUCH[len(sent) : len(sent) + os.write(wire.says, MUCH[len(sent) : len(sent) + 65536])]
        except BlockingIOError:
            received += wire.outside.recv(1 << 20)
        if sent == MUCH:
            wire.outside.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                received += wire.outside.recv(1 << 20)
        wire.relays.pump()
    assert received == MUCH


def test_an_idle_relay_waits(wire: Wire) -> None:
    """Nothing to carry: the descriptor to watch is not readable, also where one side is full."""
    wire.connect()
    assert select.select([wire.relays], [], [], 0)[0] == []


def test_what_an_earlier_child_was_not_told_is_thrown_away(wire: Wire) -> None:
    wire.outside.send(b"for the one before")
    wire.connect()
    wire.outside.send(b"new")
    wire.pump_until(wire.hears)
    assert os.read(wire.hears, 100) == b"new"


def test_the_port_of_an_ended_child_carries_the_next_ones_stream(wire: Wire) -> None:
    wire.connect()
    wire.relays.end(CHILD)
    other, ours = socket.socketpair()
    end = ours.detach()
    wire.relays.connect(CHILD + 1, [(end, end)], [wire.port])
    other.send(b"second")
    wire.pump_until(wire.outside.fileno())
    assert wire.outside.recv(100) == b"second"
    wire.relays.end(CHILD + 1)
    assert other.recv(1) == b""
    other.close()


def test_a_port_that_is_not_there_is_named() -> None:
    with pytest.raises(RequestError, match=r"cannot use the port passthru\.nowhere: "):
        Relays().reserve(["passthru.nowhere"])
    with pytest.raises(OSError):
        open_port("passthru.nowhere")
