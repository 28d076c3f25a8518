# SPDX-License-Identifier: GPL-2.0-or-later
"""Sending to a client that may not be reading."""

from __future__ import annotations

import array
import select
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEND_SECONDS = 60.0  # until there is room; some 270 replies wait unread by then
_LOOK_AGAIN_SECONDS = 1.0  # poll calls a socket writable when it is nearly empty, but it has room long before


class Unresponsive(Exception):
    """The client does not read; the connection has to end, as a message may have been sent in part."""


class Sender:
    """The sending half of ``connection``. Raises ConnectionError where the client has left, and Unresponsive."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            sent = self._connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.send_patiently(data[sent:])

    def send_patiently(self, data: bytes) -> None:
        """Send all of ``data``, which `send` could not at once."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._as_soon_as_possible(partial(self._connection.send, rest, socket.MSG_DONTWAIT)) :]

    def send_with(self, data: bytes, descriptors: Sequence[int]) -> None:
        """Send all of ``data``, ``descriptors`` with its first byte; raises OSError where those cannot be sent."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sent = self._as_soon_as_possible(lambda: self._connection.sendmsg([data], rights, socket.MSG_DONTWAIT))
        self.send(data[sent:])

    def _as_soon_as_possible(self, send: Callable[[], int]) -> int:
        room = select.poll()
        room.register(self._connection, select.POLLOUT)
        deadline = time.monotonic() + SEND_SECONDS
        while True:
            try:
                return send()
            except BlockingIOError:
                if (remaining := deadline - time.monotonic()) <= 0:
                    raise Unresponsive(f"it has read nothing for {SEND_SECONDS:.0f} s") from None
                room.poll(min(remaining, _LOOK_AGAIN_SECONDS) * 1000)
