# SPDX-License-Identifier: GPL-2.0-or-later
"""How the streams and pipes of a child reach us: as descriptors from a local worker, by lines out of a rig."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from passthru.errors import PassthruError, Unusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.host.host import ChildSpec

    Streams = Mapping[str, socket.socket]
    PipePairs = Mapping[str, tuple[BinaryIO, BinaryIO]]


_CHUNK = 1 << 16


class Wires(Protocol):
    """The streams of one child."""

    def arguments(self) -> dict[str, object]:
        """What the request to start the child says of them."""

    def connect(self, descriptors: list[int]) -> tuple[Streams, PipePairs]:
        """Our ends, now that the child runs; takes the descriptors that came with the reply."""

    def printed(self, data: str) -> None:
        """The child printed something (where the worker tells that)."""

    def ended(self) -> None:
        """The child has exited, or never came to be: nothing more comes."""


class Wiring(Protocol):
    """The way of one host."""

    def wires(self, spec: ChildSpec) -> Wires:
        """Those for a child to be started. Raises Unusable where there are not enough lines."""


class ByDescriptors:
    """A local worker hands descriptors over, and its children write their output files themselves."""

    def wires(self, spec: ChildSpec) -> Wires:
        """Those for a child to be started."""
        return _Descriptors(spec)


class _Descriptors:
    def __init__(self, spec: ChildSpec) -> None:
        self._spec = spec

    def arguments(self) -> dict[str, object]:
        output = self._spec.output
        return {"output": None if output is None else str(output.absolute())}

    def connect(self, descriptors: list[int]) -> tuple[Streams, PipePairs]:
        spec = self._spec
        stream_ends, pipe_ends = descriptors[: len(spec.streams)], descriptors[len(spec.streams) :]
        streams = dict(zip(spec.streams, (socket.socket(fileno=fd) for fd in stream_ends), strict=True))
        for stream in streams.values():
            stream.setblocking(False)
        pipes = {
            name: (os.fdopen(said, "rb", buffering=0), os.fdopen(told, "wb", buffering=0))
            for name, said, told in zip(spec.pipes, pipe_ends[::2], pipe_ends[1::2], strict=True)
        }
        return streams, pipes

    def printed(self, data: str) -> None:
        raise PassthruError("a worker of this machine told what a child printed, which it should not")

    def ended(self) -> None:
        return


class ByLines:
    """The lines of a rig: virtio-serial ports inside, connected sockets here; each is lent to one stream at a time."""

    def __init__(self, lines: Mapping[str, socket.socket]) -> None:
        """``lines`` maps the names of ports to our ends; the caller closes them, after this has been left alone."""
        self._lines = lines
        self._lent: set[str] = set()
        self._endings: set[asyncio.Task[None]] = set()

    async def finished(self) -> None:
        """Wait until what ended children said last has been given; whoever does not read it must have closed it."""
        await asyncio.gather(*self._endings)

    def wires(self, spec: ChildSpec) -> Wires:
        """Those for a child to be started. Raises Unusable where there are not enough lines."""
        wanted = (*spec.streams, *spec.pipes)
        free = [name for name in self._lines if name not in self._lent]
        if len(free) < len(wanted):
            raise Unusable(
                f"{spec.name} needs {len(wanted)} lines out of the rig, of whose {len(self._lines)} only {len(free)}"
                " are free"
            )
        names = free[: len(wanted)]
        self._lent.update(names)
        return _Lines(spec, {name: self._lines[name] for name in names}, self._lent, self._endings)


class _Lines:
    def __init__(
        self,
        spec: ChildSpec,
        lines: Mapping[str, socket.socket],
        lent: set[str],
        endings: set[asyncio.Task[None]],
    ) -> None:
        self._endings = endings
        self._spec = spec
        self._lines = lines
        self._lent = lent
        self._carriers: list[_Carrier] = []

    def arguments(self) -> dict[str, object]:
        return {"output": None, "ports": list(self._lines), "tell_output": self._spec.output is not None}

    def connect(self, descriptors: list[int]) -> tuple[Streams, PipePairs]:
        streams: dict[str, socket.socket] = {}
        pipes: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        for name, line in zip((*self._spec.streams, *self._spec.pipes), self._lines.values(), strict=True):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            self._carriers.append(_Carrier(line, theirs))
            if name in self._spec.streams:
                streams[name] = ours
            else:
                said = os.fdopen(ours.detach(), "rb", buffering=0)
                pipes[name] = (said, os.fdopen(os.dup(said.fileno()), "wb", buffering=0))
        return streams, pipes

    def printed(self, data: str) -> None:
        if self._spec.output is not None:
            with contextlib.suppress(OSError), Path(self._spec.output).open("ab") as file:
                file.write(data.encode("latin-1"))

    def ended(self) -> None:
        carriers, self._carriers = self._carriers, []
        task = asyncio.get_running_loop().create_task(self._finish(carriers))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _finish(self, carriers: list[_Carrier]) -> None:
        await asyncio.gather(*(carrier.finish() for carrier in carriers))
        self._lent.difference_update(self._lines)


class _Carrier:
    """Carries bytes between a line and one end of a socket pair, of which a child's stream is the other."""

    def __init__(self, line: socket.socket, end: socket.socket) -> None:
        self._line = line
        self._end = end
        self._rest = b""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._carry_out()), loop.create_task(self._carry_in())]

    async def finish(self) -> None:
        """Give what has come, and the end after it; then the line is free."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            while data := _what_is_there(self._line):
                self._rest += data
        with contextlib.suppress(OSError):  # whoever read it has closed it
            await asyncio.get_running_loop().sock_sendall(self._end, self._rest)
        self._end.close()

    async def _carry_out(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._line, _CHUNK):
                self._rest = data
                while self._rest:
                    try:
                        self._rest = self._rest[self._end.send(self._rest) :]
                    except BlockingIOError:
                        await _writable(self._end)

    async def _carry_in(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._end, _CHUNK):
                await loop.sock_sendall(self._line, data)


async def _writable(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(end, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(end)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _what_is_there(line: socket.socket) -> bytes:
    try:
        return line.recv(_CHUNK)
    except BlockingIOError:
        return b""


def close_streams(streams: Streams, pipes: PipePairs) -> None:
    """Close those that are still open."""
    for stream in streams.values():
        stream.close()
    for said, told in pipes.values():
        said.close()
        told.close()
