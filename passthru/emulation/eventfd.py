# SPDX-License-Identifier: GPL-2.0-or-later
"""Eventfds that a client hands over.

They stay the client's as well, with their counters and file flags, so nothing that was true a moment ago can be
relied on: neither that a read finds something nor that a write finds room.
"""

from __future__ import annotations

import errno
import os
import select
from typing import TYPE_CHECKING

from passthru.emulation.descriptors import check_room

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Abandoned(Exception):
    """A signal ended a wait."""


class _Waiting:
    """Whether a write of an eventfd is under way."""

    now = False


def is_waiting() -> bool:
    """Whether a write of an eventfd is under way, and perhaps waits."""
    return _Waiting.now


def abandon_waiting() -> None:
    """For signal handlers: if a client's eventfd has no room for our event, wait no longer.

    Nothing is lost, as a full counter tells the client the same.
    """
    if _Waiting.now:
        _Waiting.now = False
        raise _Abandoned


class Eventfd:
    """An own duplicate of somebody's eventfd.

    Raises OSError: EINVAL where it is none, as the kernel does, and EMFILE where too many descriptors are held.
    """

    def __init__(self, descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") != "anon_inode:[eventfd]":  # noqa: PTH115 (pathlib is not worth its start-up here)
            raise OSError(errno.EINVAL, "the descriptor is no eventfd")
        check_room(descriptor)
        self.descriptor = os.dup(descriptor)
        self._room = select.poll()
        self._room.register(self.descriptor, select.POLLOUT)

    def signal(self) -> None:
        """Add one. A counter that is full stays so: a client that never reads must not block the device.

        A client that fills it up right after we looked does block us, until it reads or until `abandon_waiting`:
        writes of an eventfd know no "do not wait" but that of the file flags, which are the client's.
        """
        if self.descriptor < 0 or not self._room.poll(0):
            return
        try:
            _Waiting.now = True
            os.eventfd_write(self.descriptor, 1)
            _Waiting.now = False
        except (_Abandoned, BlockingIOError):
            _Waiting.now = False

    def drain(self) -> bool:
        """Take what was signalled; False where there is nothing, as somebody else took it."""
        if self.descriptor < 0:
            return False
        try:
            return bool(os.preadv(self.descriptor, [bytearray(8)], -1, os.RWF_NOWAIT))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Let it go; from now on nothing happens."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def take_eventfds(descriptors: Iterable[int | None]) -> list[Eventfd | None]:
    """Duplicates of all of them, None where there is None, or OSError and none of them."""
    taken: list[Eventfd | None] = []
    try:
        for descriptor in descriptors:
            taken.append(None if descriptor is None else Eventfd(descriptor))  # noqa: PERF401 (those before are closed)
    except OSError:
        for eventfd in taken:
            if eventfd:
                eventfd.close()
        raise
    return taken
