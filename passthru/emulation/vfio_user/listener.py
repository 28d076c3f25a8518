# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of a vfio-user server, one at a time; signals tell of the others, so that serving costs nothing for it.

QEMU holds its monitor for seconds while it waits for a server that is busy with another client: a second client is
refused at once. It sees its connection accepted and closed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from typing import TYPE_CHECKING

from passthru.emulation.vfio_user.session import Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from types import FrameType

    from passthru.emulation.model import Model
    from passthru.vfio.trace import TraceWriter

_GONE = select.POLLHUP | select.POLLRDHUP | select.POLLERR


def serve_clients(listener: socket.socket, model: Model, trace: TraceWriter | None = None) -> None:
    """Serve ``model`` to one client after the other; ends with the exception of a signal handler.

    For the main thread only: SIGIO is taken. ``listener`` is a listening stream socket.
    """
    door = _Door(listener)
    for connection in door.clients():
        with connection:
            Session(connection, model, trace).run()


class _Door:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._client: socket.socket | None = None

    def clients(self) -> Iterator[socket.socket]:
        self._listener.setblocking(False)
        signal.signal(signal.SIGIO, self._knocked)
        descriptor = self._listener.fileno()
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while True:
            waiting.poll()
            connection = self._accept()
            if connection is None:
                continue
            self._client = connection
            self._refuse()  # who came before the line above was not refused by its signal
            yield connection
            self._client = None

    def _knocked(self, number: int, frame: FrameType | None) -> None:
        self._refuse()

    def _refuse(self) -> None:
        """Refuse all who wait, while a client is being served; one that has left makes room, so the next one waits."""
        while self._client is not None and not _has_left(self._client):
            connection = self._accept()
            if connection is None:
                return
            connection.close()

    def _accept(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None


def _has_left(client: socket.socket) -> bool:
    if client.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(client, _GONE)
    return bool(poll.poll(0))
