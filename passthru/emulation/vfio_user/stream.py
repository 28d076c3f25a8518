# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages out of a stream of bytes and descriptors.

Linux ends a recvmsg right behind the segment that carried descriptors, so descriptors belong to the last message
that begins in the bytes they came with. They are held no longer than that message takes to arrive, and sockets not at
all: a client that hands over its own end of the connection would seem to be there for ever.
"""

from __future__ import annotations

import array
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.vfio.user_messages import (
    COMMAND_NAMES,
    HEADER,
    KNOWN_FLAGS,
    MAX_MESSAGE_SIZE,
    TYPE_COMMAND,
    TYPE_MASK,
    TYPE_REPLY,
)
from passthru.vfio.user_version import DEFAULT_MAX_DATA_XFER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 1 << 16  # bytes that are received at a time
LARGEST_MESSAGE = DEFAULT_MAX_DATA_XFER_SIZE + 4096  # the data that we advertise, and any structure before them
MOST_DESCRIPTORS = 16
ANCILLARY_SPACE = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)


class Malformed(Exception):
    """The stream cannot be understood from here on; the connection has to end."""


@dataclass
class Message:
    """A message. ``descriptors`` are its receiver's to close; ``oversized`` says that the payload was thrown away."""

    message_id: int
    command: int
    size: int
    flags: int
    error: int
    payload: bytes
    descriptors: list[int] = field(default_factory=list)
    descriptors_lost: bool = False
    oversized: bool = False

    @property
    def is_reply(self) -> bool:
        """Whether it answers a command of ours."""
        return self.flags & TYPE_MASK == TYPE_REPLY

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def received_descriptors(ancillary: Iterable[tuple[int, int, bytes]], flags: int) -> tuple[list[int], bool]:
    """The descriptors of a recvmsg, and whether some did not fit or were sockets, which are closed.

    They must be received with MSG_CMSG_CLOEXEC.
    """
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    lost = bool(flags & socket.MSG_CTRUNC)
    kept = []
    for descriptor in descriptors:
        if _is_socket(descriptor):
            os.close(descriptor)
            lost = True
        else:
            kept.append(descriptor)
    return kept, lost


def _is_socket(descriptor: int) -> bool:
    """Told without a look at the file itself, whose file system may be the client's."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")  # noqa: PTH115 (as in `eventfd`)
    except OSError:
        return False


class Stream:
    """What has been received and not yet been taken. Never holds more than a message and a chunk.

    Positions count from the start of the connection.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begin = 0  # position of the first byte held, where a message begins
        self._boundary = 0  # position of the first message start whose header is not there yet
        self._discard_to = 0  # what is before this position is thrown away
        self._descriptors: dict[int, tuple[list[int], bool]] = {}  # by position of the message
        self._malformed: tuple[int, Malformed] | None = None  # where the stream cannot be understood any more

    @property
    def pending(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._bytes) or self._discard_to > self._begin

    def feed(self, chunk: bytes, descriptors: list[int], lost: bool = False) -> None:
        """Add received bytes and the descriptors that came with them, which are the stream's now."""
        dropped = min(len(chunk), max(0, self._discard_to - self._begin))
        self._begin += dropped
        self._bytes += chunk[dropped:]
        owner = self._find_boundaries()
        if self._malformed or (dropped and dropped == len(chunk)):  # they are of no message that will be looked at
            _close(descriptors)
        elif descriptors or lost:
            held, lost_before = self._descriptors.get(owner, ([], False))
            self._descriptors[owner] = (held + descriptors, lost or lost_before)
            if len(held) + len(descriptors) > MOST_DESCRIPTORS:
                self._malformed = owner, Malformed(f"more than {MOST_DESCRIPTORS} descriptors with one message")

    def next(self) -> Message | None:
        """Take the next message, None while it is incomplete; raises Malformed once all before that were taken."""
        if self._malformed and self._begin >= self._malformed[0]:
            raise self._malformed[1]
        if len(self._bytes) < HEADER.size:
            return None
        message_id, command, size, flags, error = HEADER.unpack_from(self._bytes)
        oversized = size > LARGEST_MESSAGE
        if len(self._bytes) < size and not oversized:
            return None
        payload = b"" if oversized else bytes(self._bytes[HEADER.size : size])
        descriptors, lost = self._descriptors.pop(self._begin, ([], False))
        taken = min(size, len(self._bytes))
        self._discard_to = self._begin + size
        self._begin += taken
        del self._bytes[:taken]
        return Message(message_id, command, size, flags, error, payload, descriptors, lost, oversized)

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        for descriptors, _ in self._descriptors.values():
            _close(descriptors)
        self._descriptors.clear()

    def _find_boundaries(self) -> int:
        """Look at the headers that came; returns the position of the last message that begins in what is held."""
        last = self._begin
        end = self._begin + len(self._bytes)
        while self._boundary < end and not self._malformed:
            last = self._boundary
            if end - last < HEADER.size:
                break
            try:
                self._boundary += self._size_at(last)
            except Malformed as error:
                self._malformed = last, error
        return last

    def _size_at(self, position: int) -> int:
        _, command, size, flags, _ = HEADER.unpack_from(self._bytes, position - self._begin)
        if size < HEADER.size:
            raise Malformed(f"a message of {size} bytes, which is less than its header")
        if size > LARGEST_MESSAGE and (
            size > MAX_MESSAGE_SIZE
            or command not in COMMAND_NAMES
            or flags & ~KNOWN_FLAGS
            or flags & TYPE_MASK not in (TYPE_COMMAND, TYPE_REPLY)
        ):
            raise Malformed(f"a header that promises {size} bytes of command {command} with flags {flags:#x}")
        return int(size)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
