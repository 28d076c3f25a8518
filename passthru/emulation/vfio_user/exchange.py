# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of the server to its client, DMA_READ and DMA_WRITE, and the waits for their replies."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import TYPE_CHECKING

from passthru.emulation.vfio_user.sending import Unresponsive
from passthru.emulation.vfio_user.stream import ANCILLARY_SPACE, CHUNK, Malformed, Message, received_descriptors
from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.vfio_user.stream import Stream

DMA_REPLY_SECONDS = 10.0
LOST = (ConnectionError, Malformed, Unresponsive)
"""What ends a connection."""

_RECEIVE_FLAGS = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT


class Exchange:
    """One command at a time, and only while ``allowed``: a VMM cannot answer while it waits for an answer itself.

    ``serve`` takes the client's commands that come meanwhile, ``send`` sends and ``received`` is told of each reply.
    ``lost`` is the end of the connection where it was found here: a model's work may have taken it for its own error.
    """

    allowed = False
    lost: Exception | None = None

    def __init__(
        self,
        connection: socket.socket,
        stream: Stream,
        *,
        send: Callable[[bytes], None],
        serve: Callable[[Message], None],
        received: Callable[[Message], None],
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._send = send
        self._serve = serve
        self._received = received
        self._under_way = False
        self._next_id = 0

    def ask(self, command: int, payload: bytes) -> bytes:
        """Send a command and wait for its reply; returns its payload.

        Raises OSError: EDEADLK where that must not be waited for, which is also within a command that comes while
        another reply is awaited; ETIMEDOUT; ECONNRESET where the connection is lost; and what the client answers.
        """
        if not self.allowed or self._under_way:
            raise OSError(errno.EDEADLK, "DMA by messages can only be waited for in deferred work")
        if not self.lost:
            self._under_way = True
            try:
                return _payload_of(self._reply(command, payload))
            except LOST as error:
                self.lost = error
            finally:
                self._under_way = False
        raise ConnectionResetError(errno.ECONNRESET, "the client left while it was asked for its memory")

    def _reply(self, command: int, payload: bytes) -> Message:
        self._next_id = (self._next_id + 1) & 0xFFFF
        self._send(user.command(self._next_id, command, payload))
        deadline = time.monotonic() + DMA_REPLY_SECONDS
        readable = select.poll()
        readable.register(self._connection, select.POLLIN)
        while True:
            while message := self._stream.next():
                if message.is_reply and (message.message_id, message.command) == (self._next_id, command):
                    self._received(message)
                    return message
                self._serve(message)
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not readable.poll(remaining * 1000):
                name = user.COMMAND_NAMES[command]
                raise OSError(errno.ETIMEDOUT, f"the client did not answer {name} within {DMA_REPLY_SECONDS:.0f} s")
            try:
                chunk, ancillary, flags, _ = self._connection.recvmsg(CHUNK, ANCILLARY_SPACE, _RECEIVE_FLAGS)
            except BlockingIOError:
                continue
            if not chunk:
                raise ConnectionResetError(errno.ECONNRESET, "the client left while it was asked for its memory")
            self._stream.feed(chunk, *received_descriptors(ancillary, flags))


def _payload_of(reply: Message) -> bytes:
    reply.close()
    if reply.flags & user.ERROR:
        error = OSError(reply.error if reply.error in errno.errorcode else errno.EIO, "the client refused its memory")
        if isinstance(error, (ConnectionError, TimeoutError)):  # which are to mean what happened to us
            error = OSError(errno.EIO, "the client refused its memory")
        raise error
    return reply.payload
