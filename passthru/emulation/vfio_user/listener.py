# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of a vfio-user server, one at a time.

QEMU holds its monitor for seconds while it waits for a server that is busy with another client: a second client is
refused at once. It sees its connection accepted and closed. A thread of its own does that, which sleeps unless somebody
knocks, so serving costs nothing for it. (A signal handler in its place is run within itself by a crowd that knocks
quickly, until Python's stack is full, and leaves the client no time.)
"""

from __future__ import annotations

import select
import signal
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from passthru.emulation.eventfd import abandon_waiting, is_waiting
from passthru.emulation.vfio_user.session import Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from types import FrameType

    from passthru.emulation.model import Model
    from passthru.vfio.trace import TraceWriter

_PAUSE = 0.1  # seconds, until the system may have descriptors or memory again, or somebody may have been awakened


def serve_clients(listener: socket.socket, model: Model, trace: TraceWriter | None = None) -> None:
    """Serve ``model`` to one client after the other; ends with the exception of a signal handler.

    For the main thread only: SIGIO is taken. ``listener`` is a listening stream socket.
    """
    for connection in _Door(listener).clients():
        Session(connection, model, trace).run()


class _Door:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._client: socket.socket | None = None
        self._lock = threading.Lock()  # for who looks at the client's socket, that it is not closed meanwhile
        self._idle = threading.Semaphore(1)
        self._arrived: SimpleQueue[socket.socket] = SimpleQueue()
        self._main = threading.get_ident()

    def clients(self) -> Iterator[socket.socket]:
        """Connections, each until the next one is asked for."""
        signal.signal(signal.SIGIO, _awakened)
        self._listener.setblocking(False)
        # Signals are for the main thread, which they are to wake up.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        threading.Thread(target=self._attend, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while True:
            connection = self._arrived.get()
            yield connection
            with self._lock:
                connection.close()
                self._client = None
            self._idle.release()

    def _attend(self) -> None:
        """Let in whoever comes while nobody is served, refuse the others; never ends."""
        knocks = select.poll()
        knocks.register(self._listener, select.POLLIN)
        while True:
            knocks.poll()
            connection = self._accept()
            if connection is None:
                continue
            if self._is_busy():
                connection.close()
                self._awaken()
                continue
            while not self._idle.acquire(timeout=_PAUSE):  # the client has left, which the main thread has yet to see
                self._awaken()
            self._client = connection
            self._arrived.put(connection)

    def _accept(self) -> socket.socket | None:
        """Who knocks; None where that is not to be had. What a client makes us hold leaves room for it."""
        try:
            return self._listener.accept()[0]
        except BlockingIOError:
            return None
        except OSError:  # the system is short of something
            select.poll().poll(_PAUSE * 1000)
            return None

    def _is_busy(self) -> bool:
        """Whether a client is being served that has not closed its end; one that has makes room for the next."""
        with self._lock:
            if self._client is None:
                return False
            poll = select.poll()
            poll.register(self._client, select.POLLHUP | select.POLLERR)
            return not poll.poll(0)

    def _awaken(self) -> None:
        """A client can have the main thread wait for an eventfd of its own; that must end when others come."""
        if is_waiting():
            signal.pthread_kill(self._main, signal.SIGIO)


def _awakened(number: int, frame: FrameType | None) -> None:
    abandon_waiting()
