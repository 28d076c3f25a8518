# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream of a guest, and the one reader that owns it.

Whoever wants the bytes listens; nobody else reads. QEMU's emulated UART writes each byte by itself, so a reader that
wakes for each of them costs as much as the guest: ``pause`` lets bytes gather between two reads.

A UNIX socket holds only 278 writes of one byte (1110 with the largest SO_SNDBUF that an ordinary user gets). When it is
full for 10 ms, since this machine is busy, the guest's kernel gives up waiting for its UART, and bytes are lost. A pipe
joins them and holds 65536: where a console can be a pair of pipes, it should be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import BinaryIO

READ_SIZE = 65536
UART_PAUSE = 0.002
"""Seconds between two reads of an emulated UART on a socket: a longer pause would slow the guest down."""
PIPE_PAUSE = 0.01
"""The same on a pipe, which holds more."""
BURST = 200
"""Bytes in one read that tell of a burst; the next pause is a quarter then."""


@dataclass(frozen=True)
class Pipes:
    """A console as two pipes, unbuffered: what the guest says, and what it is told."""

    said: BinaryIO
    told: BinaryIO


class Console:
    """One stream: a connected socket, or two pipes; it must be made where an event loop runs.

    ``uart``: QEMU writes it byte by byte."""

    def __init__(self, name: str, stream: socket.socket | Pipes, *, uart: bool = False) -> None:
        self.name = name
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last_byte = time.monotonic()
        self.received = 0
        self._ends = (stream.said, stream.told) if isinstance(stream, Pipes) else (stream, stream)
        self._pause = (PIPE_PAUSE if isinstance(stream, Pipes) else UART_PAUSE) if uart else 0.0
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Callable[[bytes], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending = asyncio.Lock()
        self._closed = False
        for end in self._ends:
            os.set_blocking(end.fileno(), False)
        self._loop.add_reader(self._ends[0], self._readable)

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
            with contextlib.suppress(OSError):
                while data and not self.ended.done():
                    try:
                        data = data[os.write(self._ends[1].fileno(), data) :]
                    except BlockingIOError:
                        await self._writable()

    def close(self) -> None:
        """Close the stream, which ends it for everybody; may be called twice."""
        self._end()
        self._closed = True
        for end in self._ends:
            end.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._ends[0].fileno(), READ_SIZE)
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
            self._loop.remove_reader(self._ends[0])
            self._timer = self._loop.call_later(self._pause / 4 if len(data) > BURST else self._pause, self._resume)
        for listener in tuple(self._listeners):
            listener(data)

    def _resume(self) -> None:
        self._timer = None
        self._loop.add_reader(self._ends[0], self._readable)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def set_ready() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(self._ends[1], set_ready)
        try:
            await asyncio.wait({ready, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not self._closed:
                self._loop.remove_writer(self._ends[1])

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._loop.remove_reader(self._ends[0])
            self._loop.remove_writer(self._ends[1])
        if not self.ended.done():
            self.ended.set_result(None)
