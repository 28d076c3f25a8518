# SPDX-License-Identifier: GPL-2.0-or-later
"""An ioctl(2) that a test answers: by number, a function of the argument as it is in memory."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.vfio.kernel.descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[int | bytearray], int | None]


@dataclass
class FakeIoctl:
    """Numbers without an answer are refused with ENOTTY, as the kernel does."""

    answers: dict[int, Answer] = field(default_factory=dict)
    asked: list[tuple[int, int | bytes]] = field(default_factory=list)

    def __call__(self, descriptor: int, number: int, argument: int | bytearray) -> int:
        self.asked.append((number, argument if isinstance(argument, int) else bytes(argument)))
        if descriptor < 0:
            raise refusal(errno.EBADF)
        if number not in self.answers:
            raise refusal(errno.ENOTTY)
        return self.answers[number](argument) or 0

    def descriptor(self, number: int | None = None) -> Descriptor:
        """A descriptor whose ioctls these are; without a number, of a file of its own."""
        return Descriptor(os.memfd_create("fake") if number is None else number, ioctl=self)


def refusal(number: int) -> OSError:
    """What a refused system call raises."""
    return OSError(number, os.strerror(number))


def refuse(number: int) -> Answer:
    """Refuse with this errno."""

    def answer(_: int | bytearray) -> int:
        raise refusal(number)

    return answer


def write_memory(address: int, data: bytes) -> None:
    """Write where a structure's pointer says, as the kernel does."""
    ctypes.memmove(address, data, len(data))


def read_memory(address: int, size: int) -> bytes:
    """Read where a structure's pointer says."""
    return ctypes.string_at(address, size)
