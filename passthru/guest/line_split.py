# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking the frames of the shell agent out of a line on which the kernel prints its messages.

A frame is STX, text, ETX and a newline. The kernel prints a message whole, time stamp first and newline last, but it
may do so between any two bytes of a frame. Frames hold no "[": what begins with a time stamp inside a frame is a
message, it is cut out to its newline, and the frame goes on behind it. What this gets wrong (messages without time
stamps, other programs that write to the line) spoils a frame's checksum, and the frame is asked for again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STX, ETX = b"\x02", b"\x03"
_MESSAGE = re.compile(rb"\[ *\d+\.\d+\][^\n]*\n")
_MARKS = re.compile(rb"[\x02\x03\[]")
LONGEST_FRAME = 1 << 20


class LineSplitter:
    """Splits the bytes of a shared line: ``frame(text)`` gets what was framed, ``plain(bytes)`` all the rest."""

    def __init__(self, frame: Callable[[bytes], None], plain: Callable[[bytes], None]) -> None:
        self._frame = frame
        self._plain = plain
        self._rest = b""  # what cannot be judged yet: a message without its end
        self._open: bytearray | None = None
        self._swallow_newline = False

    @property
    def open(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._open is not None

    def abandon(self) -> None:
        """Forget the open frame: its end will not come."""
        self._open = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the line."""
        data = self._rest + data
        self._rest = b""
        while data:
            if self._swallow_newline:
                self._swallow_newline = False
                data = data.removeprefix(b"\n")
                continue
            data = self._in_frame(data) if self._open is not None else self._outside(data)

    def _outside(self, data: bytes) -> bytes:
        begin = data.find(STX)
        if begin < 0:
            self._plain(data)
            return b""
        if begin:
            self._plain(data[:begin])
        self._open = bytearray()
        return data[begin + 1 :]

    def _in_frame(self, data: bytes) -> bytes:
        assert self._open is not None
        mark = _MARKS.search(data)
        if mark is None:
            self._open += data
            if len(self._open) > LONGEST_FRAME:
                self._open = None
            return b""
        self._open += data[: mark.start()]
        rest = data[mark.start() :]
        if mark[0] == ETX:
            text, self._open = bytes(self._open), None
            self._swallow_newline = True
            self._frame(text)
            return rest[1:]
        if mark[0] == STX:  # the end of the one before was lost
            self._open = bytearray()
            return rest[1:]
        message = _MESSAGE.match(rest)
        if message is not None:
            self._plain(message[0])
            return rest[message.end() :]
        if b"\n" not in rest and len(rest) < 4096:  # a message that has not ended yet, or the beginning of one
            self._rest = rest
            return b""
        self._open += rest[:1]
        return rest[1:]
