# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers for our client: the real one in a thread, and one whose every answer a test writes."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from passthru.emulation.vfio_user.session import Session
from passthru.vfio import user_messages as user
from passthru.vfio.user.target import open_connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.emulation.model import Model
    from passthru.vfio.user.target import UserOpened

SECONDS = 20.0  # no wait of a test is longer
VERSION_ANSWER = user.VERSION.pack(0, 1) + b'{"capabilities":{"max_msg_fds":2,"max_data_xfer_size":4096}}\0'


@contextmanager
def _beside(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """The other end of a socket whose server runs in a thread and has to end once we have left."""
    ours, theirs = socket.socketpair()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with theirs:
                serve(theirs)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join(SECONDS)
    assert not thread.is_alive(), "the server did not notice that its client left"
    assert failures == []


@contextmanager
def opened(model: Model, *, time_limit: float = SECONDS, descriptors: bool = True) -> Iterator[UserOpened]:
    """A device of the real server; the model stays the caller's."""
    with _beside(lambda connection: Session(connection, model).run()) as ours:
        made = open_connected(ours, time_limit, descriptors=descriptors)
        try:
            yield made
        finally:
            made.close()


class Peer:
    """A server's end of a connection, and words to write its answers with."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(SECONDS)

    def receive(self) -> tuple[int, int, bytes]:
        """Id, command and payload of the next message; raises ConnectionResetError at the end."""
        message_id, command, size, _, _ = user.HEADER.unpack(self._exactly(user.HEADER.size))
        return message_id, command, self._exactly(size - user.HEADER.size)

    def send(self, message: bytes) -> None:
        """Send bytes as they stand."""
        self.connection.sendall(message)

    def agree(self, answer: bytes = VERSION_ANSWER) -> None:
        """Answer VERSION."""
        message_id, command, _ = self.receive()
        assert command == user.VFIO_USER_VERSION
        self.send(user.reply(message_id, command, answer))

    def until_end(self) -> None:
        """Wait for the client to leave."""
        while self.connection.recv(4096):
            pass

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the client left")
            data += part
        return data


@contextmanager
def scripted(script: Callable[[Peer], None], *, time_limit: float = SECONDS) -> Iterator[UserOpened]:
    """A device behind a server that does what ``script`` says once the version is agreed upon."""

    def serve(connection: socket.socket) -> None:
        peer = Peer(connection)
        peer.agree()
        with suppress(ConnectionError):  # a client that gives the connection up leaves what it did not read
            script(peer)
            peer.until_end()

    with _beside(serve) as ours:
        made = open_connected(ours, time_limit)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def answering_version(answer: bytes) -> Iterator[socket.socket]:
    """Our end of a connection whose server answers VERSION with this payload."""

    def serve(connection: socket.socket) -> None:
        peer = Peer(connection)
        peer.agree(answer)
        peer.until_end()

    with _beside(serve) as ours:
        yield ours
