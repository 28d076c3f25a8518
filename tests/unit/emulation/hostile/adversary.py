# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that sends what it likes, and keeps reading meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from tests.unit.emulation.client import SECONDS, VERSION_PAYLOAD
from tests.unit.emulation.hostile.tally import TALLY

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096
KINDS = ("memfd", "sealed", "eventfd", "pipe", "socket", "own", "null", "directory")


@dataclass(frozen=True)
class Send:
    """One sendmsg, with descriptors of these KINDS; "own" is the client's end of the connection itself."""

    data: bytes
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A message of the server: "ok", the errno's name, or for a command of its own the command's name."""

    message_id: int
    what: str


VERSION = Send(user.command(0, user.VFIO_USER_VERSION, VERSION_PAYLOAD))


def attack(connection: socket.socket, sends: Sequence[Send]) -> list[Answer]:
    """Send it all, then shut down for writing and read to the end, which must come; every wait has a deadline."""
    TALLY.conversations += 1
    received = bytearray()
    connection.setblocking(False)
    with connection, ExitStack() as stack:
        for send in sends:
            descriptors = [open_descriptor(kind, connection, stack) for kind in send.descriptors]
            if not _send(connection, send.data, descriptors, received):
                break
        else:
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                assert error.errno == errno.ENOTCONN
        while _receive(connection, received):
            assert select.select([connection], [], [], SECONDS)[0], "the server does not end it"
    return _answers(bytes(received))


def open_descriptor(kind: str, connection: socket.socket, stack: ExitStack) -> int:
    """A descriptor of one of the KINDS, which the stack closes."""
    if kind == "own":
        return connection.fileno()
    if kind in ("memfd", "sealed"):
        made = os.memfd_create(kind, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(made, PAGE)
        if kind == "sealed":
            fcntl.fcntl(made, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    elif kind == "eventfd":
        made = os.eventfd(0, os.EFD_CLOEXEC)
    elif kind == "pipe":
        made, other = os.pipe()
        stack.callback(os.close, other)
    elif kind == "socket":
        one, other_end = socket.socketpair()
        stack.callback(other_end.close)
        made = one.detach()
    else:
        made = os.open({"null": "/dev/null", "directory": "/"}[kind], os.O_RDONLY)
    stack.callback(os.close, made)
    return made


def _send(connection: socket.socket, data: bytes, descriptors: list[int], received: bytearray) -> bool:
    """Whether the server took it all; what it says meanwhile is received."""
    deadline = time.monotonic() + SECONDS
    TALLY.sends += 1
    TALLY.bytes += len(data)
    TALLY.descriptors += len(descriptors)
    rest = memoryview(data)
    while rest:
        try:
            sent = socket.send_fds(connection, [rest], descriptors) if descriptors else connection.send(rest)
        except BlockingIOError:
            remaining = deadline - time.monotonic()
            assert remaining > 0, "the server takes nothing"
            select.select([connection], [connection], [], remaining)
            if not _receive(connection, received):
                return False
        except (BrokenPipeError, ConnectionResetError):
            return False
        else:
            rest, descriptors = rest[sent:], []
    return True


def _receive(connection: socket.socket, received: bytearray) -> bool:
    """Read what is there; False at the end of the stream."""
    try:
        while True:
            data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 64)
            for descriptor in descriptors:
                os.close(descriptor)
            if not data:
                return False
            received += data
    except BlockingIOError:
        return True
    except ConnectionResetError:  # it ended while something of ours was unread
        return False


def _answers(received: bytes) -> list[Answer]:
    """Take apart what came back, which must be whole and sound messages."""
    answers = []
    at = 0
    while at < len(received):
        assert len(received) - at >= user.HEADER.size, "the server broke off within a header"
        message_id, command, size, flags, error = user.HEADER.unpack_from(received, at)
        assert user.HEADER.size <= size <= user.MAX_MESSAGE_SIZE
        at += size
        assert at <= len(received), "the server broke off within a message"
        if flags & user.TYPE_MASK == user.TYPE_REPLY:
            assert bool(error) == bool(flags & user.ERROR)
            assert not error or size == user.HEADER.size
            answers.append(Answer(message_id, errno.errorcode[error] if error else "ok"))
            TALLY.replies[answers[-1].what] += 1
        else:
            assert flags == user.TYPE_COMMAND
            answers.append(Answer(message_id, user.COMMAND_NAMES[command]))
            TALLY.asked += 1
    return answers
