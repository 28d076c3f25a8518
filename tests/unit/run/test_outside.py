# SPDX-License-Identifier: GPL-2.0-or-later
"""A line over a socket: no byte is lost by a deadline, its end is told."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, Unusable
from passthru.run.outside import SocketLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.check.outside import Line

PAST = Deadline(0.0)


def a_line_for_checks(line: SocketLine) -> Line:
    """Type-checked only: this is what checks expect."""
    return line


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, SocketLine]]:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        yield near, SocketLine(far, "uart")


async def test_bytes_cross(ends: tuple[socket.socket, SocketLine]) -> None:
    near, line = ends
    near.send(b"out")
    assert await line.read(PAST) == b"out"
    await line.write(b"in", Deadline.after(5))
    assert near.recv(9) == b"in"
    reading = asyncio.create_task(line.read(Deadline.after(5)))
    await asyncio.sleep(0)
    near.send(b"later")
    assert await reading == b"later"


async def test_a_deadline_costs_no_byte(ends: tuple[socket.socket, SocketLine]) -> None:
    near, line = ends
    for seconds in (0.0, 0.01):
        with pytest.raises(DeadlineExceeded, match="bytes out of uart"):
            await line.read(Deadline.after(seconds))
    near.send(b"x")
    assert await line.read(PAST) == b"x"


async def test_a_cancelled_read_costs_no_byte(ends: tuple[socket.socket, SocketLine]) -> None:
    near, line = ends
    reading = asyncio.create_task(line.read(Deadline()))
    await asyncio.sleep(0)
    near.send(b"x")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await line.read(PAST) == b"x"


async def test_nobody_takes_what_is_put_in(ends: tuple[socket.socket, SocketLine]) -> None:
    _, line = ends
    with pytest.raises(DeadlineExceeded, match="uart to take 10000000 bytes"):
        await line.write(bytes(10_000_000), Deadline.after(0.05))


async def test_the_end_is_told(ends: tuple[socket.socket, SocketLine]) -> None:
    near, line = ends
    near.send(b"last")
    near.close()
    assert await line.read(PAST) == b"last"
    assert await line.read(PAST) == b""
    with pytest.raises(Unusable, match="nothing can be put into uart"):
        await line.write(b"x", Deadline.after(5))
