# SPDX-License-Identifier: GPL-2.0-or-later
"""What children print, told as events where the controlling side cannot open their output files: out of a rig."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.stream import Message

_CHUNK = 1 << 14


class Outputs:
    """The pipes that children print into. Watch ``fileno`` for reading, and send what ``take`` returns."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._children: dict[int, int] = {}

    def fileno(self) -> int:
        """The descriptor to watch; negative as long as there is nothing to watch."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def add(self, child: int, fd: int) -> None:
        """Read ``fd``, the end of a pipe, for ``child``, and close it at its end."""
        if self._epoll is None:
            self._epoll = select.epoll()
        os.set_blocking(fd, False)
        self._children[fd] = child
        self._epoll.register(fd, select.EPOLLIN)

    def take(self, child: int | None = None) -> list[Message]:
        """Events with what was printed since, by all or by one; the text has a character a byte (latin-1)."""
        events: list[Message] = []
        for fd, owner in list(self._children.items()):
            while child in (None, owner):
                try:
                    data = os.read(fd, _CHUNK)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._close(fd)
                    break
                events.append({"event": "output", "child": owner, "data": data.decode("latin-1")})
        return events

    def _close(self, fd: int) -> None:
        if self._epoll is not None:
            self._epoll.unregister(fd)
        os.close(fd)
        del self._children[fd]
