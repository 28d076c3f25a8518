# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream of a guest, and the one reader that owns it.

Whoever wants the bytes listens; nobody else reads. QEMU's emulated UART writes each byte by itself, so a reader that
wakes for each of them costs as much as the guest: ``pause`` lets bytes gather between two reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

READ_SIZE = 65536
UART_PAUSE = 0.002
"""Seconds between two reads of an emulated UART. A UNIX socket with the usual send buffer holds 278 writes of one byte
(2731 with SO_SNDBUF at 1 MiB on QEMU's end): a longer pause would slow the guest down."""
BURST = 200
"""Bytes in one read that tell of a burst; the next pause is a quarter then."""


class Console:
    """One connected, non-blocking stream; it must be made where an event loop runs."""

    def __init__(self, name: str, stream: socket.socket, *, pause: float = 0.0) -> None:
        self.name = name
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last_byte = time.monotonic()
        self.received = 0
        self._stream = stream
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Callable[[bytes], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending = asyncio.Lock()
        stream.setblocking(False)
        self._loop.add_reader(stream, self._readable)

    def listen(self, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Hand every later chunk of bytes to ``listener``; returns what ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    async def send(self, data: bytes) -> None:
        """Send all of ``data``, after what others send; a stream that has ended takes it silently (see ``ended``)."""
        async with self._sending:
            with contextlib.suppress(ConnectionError, OSError):
                await self._loop.sock_sendall(self._stream, data)

    def close(self) -> None:
        """Close the stream, which ends it for everybody; may be called twice."""
        self._end()
        self._stream.close()

    def _readable(self) -> None:
        try:
            data = self._stream.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a peer that was killed may reset the stream: the same as its end
            data = b""
        if not data:
            self._end()
            return
        self.last_byte = time.monotonic()
        self.received += len(data)
        if self._pause and len(data) < READ_SIZE:
            self._loop.remove_reader(self._stream)
            self._timer = self._loop.call_later(self._pause / 4 if len(data) > BURST else self._pause, self._resume)
        for listener in tuple(self._listeners):
            listener(data)

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._stream, self._readable)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._stream.fileno() != -1:
            self._loop.remove_reader(self._stream)
        if not self.ended.done():
            self.ended.set_result(None)
