# SPDX-License-Identifier: GPL-2.0-or-later
"""A small blocking vfio-user client that shows what came over the wire, and a server in a thread."""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.emulation.vfio_user.session import Session
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from passthru.emulation.model import Model
    from passthru.vfio.trace import TraceWriter

SECONDS = 20.0  # no wait of a test is longer
VERSION_PAYLOAD = user.VERSION.pack(0, 0) + b'{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":4096}}\0'


@dataclass(frozen=True)
class Received:
    """A message from the server; ``error`` is the errno's name, empty without one."""

    message_id: int
    command: int
    flags: int
    error: str
    payload: bytes
    descriptors: tuple[int, ...]


class Client:
    """One connection; every wait for the server is bounded."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(SECONDS)
        self._ids = itertools.count(100)

    def send(self, command: int, payload: bytes = b"", *, descriptors: Sequence[int] = (), flags: int = 0) -> int:
        """Send a command in one sendmsg, as QEMU does; returns its id."""
        message_id = next(self._ids) & 0xFFFF
        message = user.command(message_id, command, payload, flags)
        if descriptors:
            assert socket.send_fds(self.connection, [message], list(descriptors)) == len(message)
        else:
            self.connection.sendall(message)
        return message_id

    def receive(self) -> Received:
        """The next message; raises ConnectionResetError at the end of the stream."""
        head, descriptors, _, _ = socket.recv_fds(self.connection, user.HEADER.size, 16)
        head += self._exactly(user.HEADER.size - len(head), at_start=not head)
        message_id, command, size, flags, error = user.HEADER.unpack(head)
        payload = self._exactly(size - user.HEADER.size)
        name = errno.errorcode[error] if flags & user.ERROR else ""
        return Received(message_id, command, flags, name, payload, tuple(descriptors))

    def call(self, command: int, payload: bytes = b"", *, descriptors: Sequence[int] = (), flags: int = 0) -> Received:
        """A command and its reply."""
        message_id = self.send(command, payload, descriptors=descriptors, flags=flags)
        reply = self.receive()
        assert (reply.message_id, reply.command) == (message_id, command)
        assert reply.flags & user.TYPE_MASK == user.TYPE_REPLY
        if reply.error:
            assert reply.payload == b""
        return reply

    def version(self) -> Received:
        """Agree upon a version."""
        reply = self.call(user.VFIO_USER_VERSION, VERSION_PAYLOAD)
        assert not reply.error
        return reply

    def read(self, region: int, offset: int, count: int) -> bytes:
        """REGION_READ that must succeed."""
        reply = self.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(offset, region, count))
        assert not reply.error, reply.error
        assert user.REGION_ACCESS.unpack_from(reply.payload) == (offset, region, count)
        data = reply.payload[user.REGION_ACCESS.size :]
        assert len(data) == count
        return data

    def write(self, region: int, offset: int, data: bytes) -> None:
        """REGION_WRITE that must succeed."""
        head = user.REGION_ACCESS.pack(offset, region, len(data))
        reply = self.call(user.VFIO_USER_REGION_WRITE, head + data)
        assert (reply.error, reply.payload) == ("", head)

    def post(self, region: int, offset: int, data: bytes) -> None:
        """REGION_WRITE without a reply."""
        head = user.REGION_ACCESS.pack(offset, region, len(data))
        self.send(user.VFIO_USER_REGION_WRITE, head + data, flags=user.NO_REPLY)

    def set_irqs(
        self, flags: int, index: int, start: int, count: int, *, bools: bytes = b"", descriptors: Sequence[int] = ()
    ) -> str:
        """DEVICE_SET_IRQS; returns the errno's name or nothing. argsz is that of QEMU."""
        payload = vfio.IRQ_SET.pack(vfio.IRQ_SET.size, flags, index, start, count) + bools
        return self.call(user.VFIO_USER_DEVICE_SET_IRQS, payload, descriptors=descriptors).error

    def map(self, iova: int, size: int, *, flags: int = 3, descriptors: Sequence[int] = (), offset: int = 0) -> str:
        """DMA_MAP; returns the errno's name or nothing."""
        payload = user.DMA_MAP.pack(user.DMA_MAP.size, flags, offset, iova, size)
        return self.call(user.VFIO_USER_DMA_MAP, payload, descriptors=descriptors).error

    def unmap(self, iova: int, size: int, flags: int = 0) -> str:
        """DMA_UNMAP; returns the errno's name or nothing."""
        payload = user.DMA_UNMAP.pack(user.DMA_UNMAP.size, flags, iova, size)
        reply = self.call(user.VFIO_USER_DMA_UNMAP, payload)
        if not reply.error:
            assert reply.payload == payload
        return reply.error

    def at_end(self) -> bool:
        """Whether the server ends the connection."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Leave."""
        self.connection.close()

    def _exactly(self, count: int, *, at_start: bool = False) -> bytes:
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the server left" + ("" if at_start else " within a message"))
            data += part
        return data


@contextmanager
def serving(model: Model, trace: TraceWriter | None = None) -> Iterator[Client]:
    """A client of a server of ``model`` in a thread, before the version; the thread must end when the client left."""
    ours, theirs = socket.socketpair()
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            with theirs:
                Session(theirs, model, trace).run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client = Client(ours)
    try:
        yield client
    finally:
        client.close()
        thread.join(SECONDS)
    assert not thread.is_alive(), "the server did not notice that its client left"
    assert failures == []


def signalled(eventfd: int, within: float = 0.0) -> int:
    """How often an eventfd was signalled; waits ``within`` seconds for the first time."""
    poll = select.poll()
    poll.register(eventfd, select.POLLIN)
    return os.eventfd_read(eventfd) if poll.poll(within * 1000) else 0


def open_descriptors() -> list[str]:
    """What this process has open, as comparable text."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue  # the directory itself
    return sorted(found)
