# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio-serial ports: how a worker inside a rig is driven, and how the streams of its children leave the rig.

A port is opened once and kept: the kernel lets one process at a time have it. Source: Linux's
drivers/char/virtio_console.c (port_fops_open, port_fops_read, will_write_block).
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from passthru.worker.protocol import REQUEST, UNUSABLE, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CLASS = "/sys/class/virtio-ports"
_CHUNK = 1 << 16
_LAST_WORDS_SECONDS = 1.0


def open_port(name: str) -> int:
    """Open the port that the machine calls ``name``, for reading and writing. Raises OSError, FileNotFoundError too."""
    for device in os.listdir(_CLASS):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError), open(f"{_CLASS}/{device}/name", encoding="utf-8") as file:  # noqa: PTH123
            if file.read().strip() == name:
                return os.open(f"/dev/{device}", os.O_RDWR | os.O_CLOEXEC)
    raise FileNotFoundError(2, f"there is no virtio-serial port named {name}")


def greet(fd: int, frame: bytes) -> None:
    """Write the first frame: that waits until the other side is connected, before which a port reads as ended."""
    os.set_blocking(fd, True)
    while frame:
        frame = frame[os.write(fd, frame) :]
    os.set_blocking(fd, False)


class _Relay:
    """One stream of a child and the port that it leaves by."""

    def __init__(self, child: int, said: int, told: int, port: int) -> None:
        self.child = child
        self.said = said
        self.told = told
        self.port = port
        self.outgoing = b""
        self.incoming = b""

    def close(self) -> None:
        """Close the child's side; the port stays."""
        for fd in {self.said, self.told} - {-1}:
            os.close(fd)
        self.said = self.told = -1


class Relays:
    """All streams that leave by ports. Watch ``fileno`` for reading, and call ``pump`` then."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None  # none on a local host, where nothing leaves by ports
        self._ports: dict[str, int] = {}
        self._relays: dict[int, _Relay] = {}
        self._watched: dict[int, int] = {}
        self._owners: dict[int, _Relay] = {}

    def fileno(self) -> int:
        """The descriptor to watch; negative as long as there is nothing to watch."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def reserve(self, names: Sequence[str]) -> list[int]:
        """The descriptors of these ports, opened now if they are not. Raises RequestError: no such port, or in use."""
        found = []
        for name in names:
            if name not in self._ports:
                try:
                    self._ports[name] = open_port(name)
                except OSError as error:
                    raise RequestError(UNUSABLE, f"cannot use the port {name}: {error.strerror}") from error
                os.set_blocking(self._ports[name], False)
            port = self._ports[name]
            if port in self._relays:
                raise RequestError(REQUEST, f"the port {name} carries a stream already")
            found.append(port)
        return found

    def connect(self, child: int, ends: Sequence[tuple[int, int]], ports: Sequence[int]) -> None:
        """Carry each of ``ends`` (what the child says, what it is told: our ends, maybe the same) by a port.

        What an earlier child was not told any more is thrown away.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
        for (said, told), port in zip(ends, ports, strict=True):
            for fd in (said, told):
                os.set_blocking(fd, False)
            _discard(port)
            relay = _Relay(child, said, told, port)
            self._relays[port] = relay
            for fd in {said, told, port}:
                self._owners[fd] = relay
            self._watch(relay)

    def pump(self) -> None:
        """Carry what can be carried now."""
        if self._epoll is not None:
            for relay in {id(self._owners[fd]): self._owners[fd] for fd, _ in self._epoll.poll(0)}.values():
                self._carry(relay)

    def end(self, child: int) -> None:
        """A child has exited: carry what it still said, before its end is told; then its ports are free for others.

        Waits for an other side that does not read, a second at most.
        """
        for relay in [relay for relay in self._relays.values() if relay.child == child]:
            end = time.monotonic() + _LAST_WORDS_SECONDS
            while relay.said >= 0 and (self._carry(relay) or (relay.outgoing and _writable(relay.port, end))):
                pass
            self._end(relay)

    def _carry(self, relay: _Relay) -> bool:
        """Move what can be moved in both directions; returns whether anything came from the child."""
        moved = False
        if not relay.outgoing and relay.said >= 0:
            data = _read(relay.said)
            if data == b"":
                self._end(relay)
                return False
            relay.outgoing, moved = data or b"", data is not None
        relay.outgoing = relay.outgoing[_write(relay.port, relay.outgoing) :]
        if not relay.incoming and relay.told >= 0:
            relay.incoming = _read(relay.port) or b""
        if relay.incoming:
            try:
                relay.incoming = relay.incoming[_write(relay.told, relay.incoming) :]
            except OSError:
                relay.incoming = b""  # it reads no more; what it says may still come
        self._watch(relay)
        return moved and not relay.outgoing

    def _end(self, relay: _Relay) -> None:
        for fd in {relay.said, relay.told, relay.port} - {-1}:
            self._interest(fd, 0)
            self._owners.pop(fd, None)
        relay.close()
        self._relays.pop(relay.port, None)

    def _watch(self, relay: _Relay) -> None:
        wanted = dict.fromkeys((relay.said, relay.told, relay.port), 0)
        if relay.outgoing:
            wanted[relay.port] |= select.EPOLLOUT
        else:
            wanted[relay.said] |= select.EPOLLIN
        if relay.incoming:
            wanted[relay.told] |= select.EPOLLOUT
        else:
            wanted[relay.port] |= select.EPOLLIN
        for fd, events in wanted.items():
            self._interest(fd, events)

    def _interest(self, fd: int, events: int) -> None:
        if self._epoll is None or fd < 0 or self._watched.get(fd, 0) == events:
            return
        if not events:
            # Hang-ups are told whether asked for or not: what is not wanted must not be watched at all.
            self._epoll.unregister(fd)
            del self._watched[fd]
        elif fd in self._watched:
            self._epoll.modify(fd, events)
            self._watched[fd] = events
        else:
            self._epoll.register(fd, events)
            self._watched[fd] = events


def _read(fd: int) -> bytes | None:
    """What is there to read now: None for nothing, empty at the end."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _write(fd: int, data: bytes) -> int:
    """How much of ``data`` could be written now. Raises OSError where nobody reads any more."""
    if not data:
        return 0
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


def _writable(fd: int, end: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    left = end - time.monotonic()
    return left > 0 and any(events & select.POLLOUT for _, events in poll.poll(left * 1000))


def _discard(fd: int) -> None:
    while _read(fd):
        pass
