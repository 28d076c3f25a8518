# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole messages from a socket, with their descriptors, each before its deadline.

A message is received in two parts, its header and then the rest, never a byte further: Linux gives descriptors to the
recvmsg that takes the first byte they came with, so what a message's parts bring is that message's.
"""

from __future__ import annotations

import array
import os
import select
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from passthru.vfio import user_messages as user
from passthru.vfio.user.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_DESCRIPTORS = 16  # that the server may send in one message, as we say in VERSION
_ANCILLARY = socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
_FLAGS = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
_CHUNK = 1 << 18


class Incoming(NamedTuple):
    """A message; ``descriptors`` are the receiver's to close."""

    message_id: int
    command: int
    flags: int
    error: int
    payload: bytes
    descriptors: list[int]

    @property
    def name(self) -> str:
        """The command's, as the specification has it."""
        return user.COMMAND_NAMES.get(self.command, f"command {self.command}")

    def __str__(self) -> str:
        kind = {user.TYPE_COMMAND: "the command", user.TYPE_REPLY: "a reply to"}.get(self.flags & user.TYPE_MASK, "a")
        return (
            f"{kind} {self.name} with id {self.message_id}, flags {self.flags:#x}, errno {self.error}"
            f" and {len(self.payload)} bytes after its header"
            + (f", and {len(self.descriptors)} descriptors" if self.descriptors else "")
        )

    def close(self) -> None:
        """Close the descriptors."""
        close_all(self.descriptors)
        self.descriptors.clear()


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of them."""
    for descriptor in descriptors:
        os.close(descriptor)


class Receiver:
    """The receiving half of ``connection``; ``held`` are bytes that were received before they were understood."""

    def __init__(self, connection: socket.socket, longest: int) -> None:
        self.held = b""
        self._connection = connection
        self._longest = longest
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)

    def next(self, deadline: float) -> Incoming:
        """The next message. Raises TimeoutError, ConnectionResetError at the end of the stream, ProtocolError."""
        descriptors: list[int] = []
        try:
            head = self._exactly(user.HEADER.size, deadline, descriptors)
            message_id, command, size, flags, error = user.HEADER.unpack(head)
            if not user.HEADER.size <= size <= self._longest:
                raise ProtocolError(
                    f"the device server sent a header that says {size} bytes (command {command}, id {message_id},"
                    f" flags {flags:#x}); {user.HEADER.size} to {self._longest} can be"
                )
            payload = self._exactly(size - user.HEADER.size, deadline, descriptors, within=True)
        except BaseException:
            close_all(descriptors)
            raise
        return Incoming(message_id, command, flags, error, payload, descriptors)

    def _exactly(self, count: int, deadline: float, descriptors: list[int], *, within: bool = False) -> bytes:
        received, self.held = self.held[:count], self.held[count:]
        while len(received) < count:
            wanted = min(count - len(received), _CHUNK)
            try:
                chunk, ancillary, flags, _ = self._connection.recvmsg(wanted, _ANCILLARY, _FLAGS)
            except BlockingIOError:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._readable.poll(remaining * 1000):
                    raise TimeoutError(f"{len(received)} of {count} bytes came") from None
                continue
            descriptors += _received(ancillary)
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError(f"the device server sent more than {MOST_DESCRIPTORS} descriptors in one message")
            if not chunk:
                place = " within a message" if within or received else ""
                raise ConnectionResetError(f"the device server closed the connection{place}")
            received += chunk
        return received


def _received(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()
