# SPDX-License-Identifier: GPL-2.0-or-later
"""The outside of a rig's hardware: the far end of its QEMU character device, which is a stream of that QEMU's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import Unusable

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping

_PIECE = 1 << 16


@contextlib.asynccontextmanager
async def drained(lines: Mapping[str, SocketLine]) -> AsyncIterator[None]:
    """Meanwhile whatever comes out of ``lines`` is thrown away.

    QEMU writes into them with the whole machine stopped until somebody takes it, so where bytes may come out, which no
    check awaits, somebody has to.
    """
    tasks = [asyncio.create_task(_drain(line)) for line in lines.values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _drain(line: SocketLine) -> None:
    while await line.read(Deadline()):
        pass


class SocketLine:
    """A line over a connected, non-blocking socket, which stays its owner's; see ``check.outside.Line``."""

    def __init__(self, stream: socket.socket, name: str) -> None:
        """``name`` is what errors call it: the hardware's name."""
        self._stream = stream
        self._name = name

    async def read(self, deadline: Deadline) -> bytes:
        """What has come since; see ``Line``. Raises DeadlineExceeded."""
        while True:
            # Taken only here, never by a wait that a deadline may cut short: no byte is lost with it.
            try:
                return self._stream.recv(_PIECE)
            except BlockingIOError:
                async with deadline.waiting_for(f"bytes out of {self._name}"):
                    await self._readable()
            except ConnectionError:
                return b""

    async def write(self, data: bytes, deadline: Deadline) -> None:
        """Put all of ``data`` in; see ``Line``. Raises DeadlineExceeded, Unusable."""
        try:
            async with deadline.waiting_for(f"{self._name} to take {len(data)} bytes from outside"):
                await asyncio.get_running_loop().sock_sendall(self._stream, data)
        except OSError as error:
            raise Unusable(f"nothing can be put into {self._name} from outside: {error}; its rig has ended") from error

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._stream, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._stream)
