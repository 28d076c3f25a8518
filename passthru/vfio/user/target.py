# SPDX-License-Identifier: GPL-2.0-or-later
"""A device server's socket as a target: each opening is a connection of its own."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.vfio.transcript import Transcript
from passthru.vfio.user.connection import Connection
from passthru.vfio.user.device import UserDevice
from passthru.vfio.user.dma import UserDmaSpace
from passthru.vfio.user.exchange import TIME_LIMIT
from passthru.vfio.user.negotiation import negotiate

if TYPE_CHECKING:
    from passthru.vfio.device import Transport

_PAUSE = 0.005  # seconds between two knocks at a socket where nobody listens yet
_SURE = 5  # clients of a server that stayed for the next one: it does not end with them
_FAREWELL = 0.2  # seconds in which a server that ends with its client is gone, and closes what others began


class UserOpened:
    """An opened device and the memory that it sees. See `Opened`."""

    def __init__(self, device: UserDevice, dma: UserDmaSpace) -> None:
        self.device = device
        self.dma = dma

    def neighbour(self, name: str) -> UserDevice:
        """A server has one device."""
        raise OSError(errno.ENODEV, f"a device server has no {name} beside its device")

    def close(self) -> None:
        """Leave: the server has to let go of what it was given."""
        self.device.close()


@dataclass(frozen=True)
class UserTarget:
    """The server that listens at ``path``; ``time_limit`` is seconds for each reply.

    Without ``descriptors`` its DMA goes by messages.
    """

    path: str
    time_limit: float = TIME_LIMIT
    descriptors: bool = True
    patience: float = 0.0
    """Seconds to wait for a server that is about to listen: one that ends with its client, and is started anew."""
    _seen: Counter[str] = field(default_factory=Counter, compare=False, repr=False)
    """How often a server ``ended`` with the client before, as far as was looked, and how often it ``stayed``."""

    @property
    def transport(self) -> Transport:
        return "vfio-user"

    @property
    def title(self) -> str:
        return f"the device server at {self.path}"

    def open(self) -> UserOpened:
        """Connect and agree upon a version. Raises OSError, ConnectionError where the server refuses us."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return _opened(self.connect(), self.descriptors)
            except ConnectionResetError:
                # Maybe by a server that was ending, with the client before, when we came.
                if time.monotonic() >= end:
                    raise

    def connect(self) -> Connection:
        """Connect, and say nothing yet. Raises OSError."""
        end = time.monotonic() + self.patience
        while True:
            connection = self._connect()
            stays = self._seen["stayed"] > _SURE and not self._seen["ended"]
            if not self.patience or stays or time.monotonic() >= end:
                break
            if not _is_closed(connection, _FAREWELL):
                self._seen["stayed"] += 1
                break
            self._seen["ended"] += 1
            connection.close()  # by a server that was about to end
        return Connection(connection, Transcript(), self.time_limit)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(self.time_limit)
            self._reach(connection)
        except OSError as error:
            connection.close()
            number = error.errno
            words = f"cannot connect to {self.title}: {error.strerror or error}"
            raise (OSError(number, words) if number else type(error)(words)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _reach(self, connection: socket.socket) -> None:
        """Connect, now or as soon as somebody listens. Raises OSError."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return connection.connect(self.path)
            except (ConnectionRefusedError, FileNotFoundError):
                if time.monotonic() >= end:
                    raise
            self._seen["ended"] += 1
            time.sleep(_PAUSE)


def _is_closed(connection: socket.socket, within: float) -> bool:
    """Whether the other side closes a connection so soon, before anything was said."""
    return bool(select.select([connection], [], [], within)[0])


def open_connected(
    connection: socket.socket, time_limit: float = TIME_LIMIT, *, descriptors: bool = True
) -> UserOpened:
    """Open the device behind a connected socket, which is the device's from now on. Raises as `UserTarget.open`."""
    return _opened(Connection(connection, Transcript(), time_limit), descriptors)


def _opened(connection: Connection, descriptors: bool) -> UserOpened:
    try:
        server = negotiate(connection)
    except BaseException:
        connection.close()
        raise
    return UserOpened(UserDevice(connection, server), UserDmaSpace(connection, server, descriptors=descriptors))
