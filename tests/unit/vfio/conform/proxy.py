# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody between a client and the real device server who may change, keep back, or make up messages.

What each does wrong is in `broken`. Descriptors go along with the messages that they came with.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.emulation.vfio_user.session import Session
from passthru.emulation.vfio_user.stream import CHUNK, Message, Stream, received_descriptors
from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.emulation.model import Model

SECONDS = 20.0  # no wait is longer
_ANCILLARY = socket.CMSG_SPACE(4 * 16)


class Line:
    """One connection, with the honest server at its other end. `command` and `reply` are there to be overridden.

    ``asked`` are the client's commands by id, whose replies are yet to come.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.asked: dict[int, Message] = {}
        self._poll = select.poll()
        self._watched: dict[int, Callable[[], None]] = {}

    def command(self, message: Message) -> None:
        """A command of the client."""
        self.to_server(message)

    def reply(self, asked: Message, message: Message) -> None:
        """The server's reply to a command."""
        self.to_client(message)

    def server_command(self, message: Message) -> None:
        """A command of the server, for the client's memory."""
        self.to_client(message)

    def client_reply(self, message: Message) -> None:
        """The client's reply to such a command."""
        self.to_server(message)

    def ended(self) -> None:
        """One of them has left."""

    def to_server(self, message: Message) -> None:
        """Hand a message on."""
        _send(self.server, message)

    def to_client(self, message: Message) -> None:
        """Hand a message on."""
        _send(self.client, message)

    def answer(self, message: Message, payload: bytes = b"") -> None:
        """Answer a command ourselves; nobody else sees it."""
        self.asked.pop(message.message_id, None)
        if not message.flags & user.NO_REPLY:
            self.client.sendall(user.reply(message.message_id, message.command, payload))

    def refuse(self, message: Message, errno: int) -> None:
        """Refuse a command ourselves."""
        self.asked.pop(message.message_id, None)
        self.client.sendall(user.error_reply(message.message_id, message.command, errno))

    def tell_server(self, command: int, payload: bytes, message_id: int = 0xFFFF) -> None:
        """Send the server a command of our own that wants no reply."""
        self.server.sendall(user.command(message_id, command, payload, user.NO_REPLY))

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        """Call ``work`` whenever a descriptor is readable."""
        self._watched[descriptor] = work
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Do so no longer."""
        del self._watched[descriptor]
        self._poll.unregister(descriptor)

    def run(self) -> None:
        """Carry messages until one of them leaves."""
        streams = {self.client.fileno(): (self.client, Stream()), self.server.fileno(): (self.server, Stream())}
        for descriptor in streams:
            self._poll.register(descriptor, select.POLLIN)
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor not in streams:
                        if work := self._watched.get(descriptor):
                            work()
                        continue
                    connection, stream = streams[descriptor]
                    chunk, ancillary, flags, _ = connection.recvmsg(CHUNK, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
                    if not chunk:
                        return
                    stream.feed(chunk, *received_descriptors(ancillary, flags))
                    while message := stream.next():
                        try:
                            self._carry(connection is self.client, message)
                        finally:
                            message.close()
        except OSError:  # who leaves with something unread resets the connection
            return
        finally:
            for _, stream in streams.values():
                stream.close()
            self.ended()

    def _carry(self, from_client: bool, message: Message) -> None:
        if from_client and message.is_reply:
            self.client_reply(message)
        elif from_client:
            if not message.flags & user.NO_REPLY:
                self.asked[message.message_id] = replace(message, descriptors=[])
            self.command(message)
        elif message.is_reply:
            asked = self.asked.pop(message.message_id, None)
            if asked:
                self.reply(asked, message)
        else:
            self.server_command(message)


@contextmanager
def listening(model: Model, line: Callable[[socket.socket, socket.socket], Line]) -> Iterator[str]:
    """The path of a socket where ``model`` is served by way of ``line``, to one client at a time."""
    failures: list[BaseException] = []
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as place:
        path = str(Path(place) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve() -> None:
                try:
                    while True:
                        try:
                            client, _ = listener.accept()
                        except OSError:  # the end of the test
                            return
                        _serve(client, model, line)
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            try:
                yield path
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)  # wakes the thread up, as closing would not
                thread.join(SECONDS)
    assert not thread.is_alive(), "the server did not notice that its client left"
    assert failures == []


def _serve(client: socket.socket, model: Model, line: Callable[[socket.socket, socket.socket], Line]) -> None:
    ours, theirs = socket.socketpair()
    session = threading.Thread(target=lambda: Session(theirs, model).run(), daemon=True)
    with client, theirs:
        session.start()
        with ours:
            line(client, ours).run()
        session.join(SECONDS)
        assert not session.is_alive(), "the session did not end"


def _send(connection: socket.socket, message: Message) -> None:
    head = user.HEADER.pack(
        message.message_id, message.command, user.HEADER.size + len(message.payload), message.flags, message.error
    )
    if message.descriptors:
        socket.send_fds(connection, [head + message.payload], message.descriptors)
    else:
        connection.sendall(head + message.payload)


def duplicate(message: Message) -> list[int]:
    """The descriptors of a message, ours to close."""
    return [os.dup(descriptor) for descriptor in message.descriptors]
