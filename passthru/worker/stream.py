# SPDX-License-Identifier: GPL-2.0-or-later
"""Framed JSON over one stream: a 4-byte big-endian length, then that many bytes of JSON, an object.

The stream is any descriptor that can be read and written: a connected UNIX stream socket, over which descriptors can
travel too (SCM_RIGHTS, unix(7)), or a character device such as a virtio-serial port, over which they cannot.
Nothing here blocks: the owner watches ``fileno()`` and calls ``receive`` and ``flush``.
"""

from __future__ import annotations

import array
import json
import os
import socket
import stat
import struct
from collections import deque

from passthru.worker.descriptors import above_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Message = dict[str, Any]

# Generous for a command line and its environment (execve takes 128 KiB a string), small enough to be held in memory.
MAX_FRAME = 4 << 20
# The kernel's own limit of descriptors in one message (SCM_MAX_FD in net/scm.h).
MAX_DESCRIPTORS = 253

_LENGTH = struct.Struct(">I")
_READ_SIZE = 1 << 16
_DESCRIPTOR_SIZE = array.array("i").itemsize


class FrameError(Exception):
    """The other side sent what is no frame; the stream cannot be used any further."""


class FramedStream:
    """Both directions of one stream; owns its descriptor and the descriptors that wait to be sent or taken."""

    def __init__(self, fd: int) -> None:
        """Takes over ``fd``. Raises OSError when it is no open descriptor."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._socket = socket.socket(fileno=fd) if stat.S_ISSOCK(os.fstat(fd).st_mode) else None
        self._incoming = bytearray()
        self._descriptors: deque[int] = deque()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._fd

    @property
    def wants_to_write(self) -> bool:
        """Something waits for the other side to read: call ``flush`` when the descriptor is writable."""
        return bool(self._outgoing)

    def send(self, message: Message, descriptors: Iterable[int] = ()) -> None:
        """Send ``message``, now or as soon as the other side reads; ``descriptors`` go with it and are closed here.

        Raises FrameError when the message is too large. A stream that has ended is noticed by ``receive`` only.
        """
        fds = list(descriptors)
        body = json.dumps(message | {"fds": len(fds)} if fds else message).encode()
        if len(body) > MAX_FRAME or len(fds) > MAX_DESCRIPTORS or (fds and not self._socket):
            close_all(fds)
            raise FrameError(
                f"a message of {len(body)} bytes and {len(fds)} descriptors does not fit into one frame"
                f" (at most {MAX_FRAME} and {MAX_DESCRIPTORS if self._socket else 0})"
            )
        self._outgoing.append((memoryview(_LENGTH.pack(len(body)) + body), fds))
        self.flush()

    def flush(self) -> None:
        """Send as much of what waits as the other side takes now."""
        while self._outgoing:
            data, fds = self._outgoing.popleft()
            try:
                sent = self._write(data, fds)
            except BlockingIOError:
                self._outgoing.appendleft((data, fds))
                return
            except OSError:
                # The other side has gone; what it still said can be read, and after that its end.
                self._outgoing.appendleft((data, fds))
                self._drop_outgoing()
                return
            close_all(fds)  # they went with the first byte
            if sent < len(data):
                self._outgoing.appendleft((data[sent:], []))

    def receive(self) -> list[tuple[Message, list[int]]]:
        """The messages that have arrived, each with its descriptors, which the caller then owns.

        Raises EOFError at the end of the stream and FrameError for what is no frame.
        """
        try:
            data = self._read()
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError(str(error)) from error
        if not data:
            raise EOFError("the stream ended")
        self._incoming += data
        messages = []
        while (body := self._next_body()) is not None:
            messages.append(self._parse(body))
        return messages

    def close(self) -> None:
        """Close the stream and every descriptor that still waits in it."""
        self._drop_outgoing()
        close_all(self._descriptors)
        self._descriptors.clear()
        if self._fd >= 0:
            if self._socket:
                self._socket.close()
            else:
                os.close(self._fd)
            self._fd = -1

    def _drop_outgoing(self) -> None:
        for _, fds in self._outgoing:
            close_all(fds)
        self._outgoing.clear()

    def _write(self, data: memoryview, fds: list[int]) -> int:
        if not self._socket:
            return os.write(self._fd, data)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self._socket.sendmsg([data], rights)

    def _read(self) -> bytes:
        if not self._socket:
            return os.read(self._fd, _READ_SIZE)
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR_SIZE)
        data, ancillary, flags, _ = self._socket.recvmsg(_READ_SIZE, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
                self._descriptors.extend(above_standard(fd) for fd in fds)
        if flags & socket.MSG_CTRUNC:
            raise FrameError("descriptors were lost on their way: this process has too many open files (ulimit -n)")
        return data

    def _next_body(self) -> bytes | None:
        if len(self._incoming) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._incoming)
        if length > MAX_FRAME:
            raise FrameError(f"a frame announced {length} bytes, more than the {MAX_FRAME} that one may have")
        if len(self._incoming) < _LENGTH.size + length:
            return None
        body = bytes(self._incoming[_LENGTH.size : _LENGTH.size + length])
        del self._incoming[: _LENGTH.size + length]
        return body

    def _parse(self, body: bytes) -> tuple[Message, list[int]]:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise FrameError(f"a frame of {len(body)} bytes holds no JSON: {error}") from error
        if not isinstance(message, dict):
            raise FrameError(f"a frame holds a JSON {type(message).__name__} where an object is expected")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= len(self._descriptors):
            raise FrameError(f"a frame speaks of {count!r} descriptors where {len(self._descriptors)} have come")
        return message, [self._descriptors.popleft() for _ in range(count)]


def framed(message: Message) -> bytes:
    """A small message without descriptors as the bytes of its frame."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


def close_all(fds: Iterable[int]) -> None:
    """Close each of ``fds``."""
    for fd in fds:
        os.close(fd)
