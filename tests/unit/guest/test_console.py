# SPDX-License-Identifier: GPL-2.0-or-later
"""One reader, many listeners, over sockets and over pipes."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, BinaryIO

import pytest

from passthru.guest.console import Console, Pipes

if TYPE_CHECKING:
    from collections.abc import Iterator

Ends = tuple["socket.socket | Pipes", BinaryIO, BinaryIO]


@pytest.fixture(params=["socket", "pipes"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """A console's stream, and the guest's files to write to it and to read from it."""
    ours: socket.socket | Pipes
    if request.param == "socket":
        ours, theirs = socket.socketpair()
        files = [os.fdopen(os.dup(theirs.fileno()), mode, buffering=0) for mode in ("wb", "rb")]
        theirs.close()
    else:
        said, says = os.pipe()
        hears, told = os.pipe()
        ours = Pipes(os.fdopen(said, "rb", buffering=0), os.fdopen(told, "wb", buffering=0))
        files = [os.fdopen(says, "wb", buffering=0), os.fdopen(hears, "rb", buffering=0)]
    yield ours, files[0], files[1]
    for file in files:
        file.close()


@pytest.mark.parametrize("uart", [False, True])
async def test_every_listener_gets_every_byte_to_the_end(ends: Ends, uart: bool) -> None:
    stream, says, hears = ends
    console = Console("a console", stream, uart=uart)
    heard = [bytearray(), bytearray()]
    for listener in heard:
        console.listen(listener.extend)

    def speak() -> None:
        for _ in range(3000):
            says.write(b"x")
        says.close()
        hears.close()

    await asyncio.to_thread(speak)
    await console.ended
    console.close()
    assert heard == [b"x" * 3000, b"x" * 3000]
    assert console.received == 3000


async def test_who_stops_listening_hears_no_more(ends: Ends) -> None:
    stream, says, _ = ends
    console = Console("a console", stream)
    heard = bytearray()
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    stop = console.listen(heard.extend)
    console.listen(lambda data: None if first.done() else first.set_result(data))
    says.write(b"one")
    await first
    stop()
    says.write(b"two")
    says.close()
    ends[2].close()
    await console.ended
    console.close()
    assert heard == b"one"


async def test_a_slow_reader_gets_all_that_was_sent(ends: Ends) -> None:
    stream, _, hears = ends
    console = Console("a console", stream)
    data = os.urandom(1 << 20)
    sending = asyncio.create_task(console.send(data))

    def hear() -> bytes:
        heard = bytearray()
        while len(heard) < len(data):
            heard += hears.read(5000)
        return bytes(heard)

    assert await asyncio.to_thread(hear) == data
    await sending
    console.close()


async def test_sending_to_what_has_ended_is_silent(ends: Ends) -> None:
    stream, says, hears = ends
    console = Console("a console", stream)
    says.close()
    hears.close()
    await console.ended
    await console.send(b"nobody")
    console.close()
    console.close()
