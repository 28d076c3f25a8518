# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of the kernel's and the ioctls on it: structures go in and come back as bytes.

Structures begin with their size (argsz), by which the caller says how much room he has. The kernel is given that room,
and bytes behind it that it must leave alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

from passthru.vfio.malformed import Malformed
from passthru.vfio.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    Ioctl = Callable[[int, int, int | bytearray], int]

MOST_ROOM = 1 << 16
"""Bytes of room that an argsz gets; no structure is as long."""
_GUARD = b"\xa5" * 64


def system_ioctl(descriptor: int, number: int, argument: int | bytearray) -> int:
    """ioctl(2), by which a structure is changed in place."""
    if descriptor < 0:  # for which Python has an error of its own
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return fcntl.ioctl(descriptor, number, argument)


class Descriptor:
    """An open file that is ours to close. ``call`` is an ioctl's name, for the transcript. All raise OSError."""

    def __init__(self, descriptor: int, transcript: Transcript | None = None, ioctl: Ioctl = system_ioctl) -> None:
        self.transcript = transcript or Transcript()
        self._descriptor = descriptor
        self._ioctl = ioctl

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return self._descriptor

    @property
    def ioctl(self) -> Ioctl:
        """What ioctls are made by; another in tests."""
        return self._ioctl

    def plain(self, call: str, number: int, value: int = 0) -> int:
        """An ioctl whose argument is a number, or none; returns what it returned."""
        try:
            result = self._ioctl(self._descriptor, number, value)
        except OSError as error:
            self.transcript.note((call, value, error))
            raise
        self.transcript.note((call, value, "->", result))
        return result

    def structure(self, call: str, number: int, structure: bytes) -> bytes:
        """An ioctl whose argument is a structure; returns it as it came back, as long as its argsz gave room for.

        Raises Malformed where the kernel wrote behind that room.
        """
        buffer = bytearray(structure)
        self.in_place(call, number, buffer)
        return bytes(buffer)

    def in_place(self, call: str, number: int, structure: bytearray) -> int:
        """As ``structure``, whose answer is in place even where an error is raised; returns what ioctl(2) returned."""
        asked = bytes(structure)
        argsz = int.from_bytes(asked[:4], "little")
        room = max(len(asked), min(argsz, MOST_ROOM))
        buffer = bytearray(asked.ljust(room, b"\0") + _GUARD)
        try:
            result = self._ioctl(self._descriptor, number, buffer)
        except OSError as error:
            self.transcript.note((call, asked, error))
            raise
        else:
            self.transcript.note((call, asked, "->", bytes(buffer[:room])))
        finally:
            structure[:] = buffer[:room]
            if argsz <= MOST_ROOM and buffer[room:] != _GUARD:
                raise Malformed(f"{call} was given {argsz} bytes of room, and bytes behind them were written")
        return result

    def pointed(self, call: str, number: int, argument: bytearray, said: str | int | None = None) -> int:
        """An ioctl whose argument points to what tells no size, changed in place; returns what it returned.

        ``said`` is what the transcript shows for the argument, where its bytes would say less.
        """
        asked = bytes(argument) if said is None else said
        try:
            result = self._ioctl(self._descriptor, number, argument)
        except OSError as error:
            self.transcript.note((call, asked, error))
            raise
        self.transcript.note((call, asked, "->", result))
        return result

    def close(self) -> None:
        """Close it; closing again does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def opened(path: str, transcript: Transcript | None = None, ioctl: Ioctl = system_ioctl) -> Descriptor:
    """Open a file of the kernel's for reading and writing. Raises OSError."""
    return Descriptor(os.open(path, os.O_RDWR | os.O_CLOEXEC), transcript, ioctl)
