# SPDX-License-Identifier: GPL-2.0-or-later
"""Eventfds that a client hands over."""

from __future__ import annotations

import errno
import os
import select


class Eventfd:
    """An own duplicate of somebody's eventfd; raises OSError EINVAL where it is none, as the kernel does."""

    def __init__(self, descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") != "anon_inode:[eventfd]":  # noqa: PTH115 (pathlib is not worth its start-up here)
            raise OSError(errno.EINVAL, "the descriptor is no eventfd")
        self.descriptor = os.dup(descriptor)
        self._room = select.poll()
        self._room.register(self.descriptor, select.POLLOUT)

    def signal(self) -> None:
        """Add one. A counter that is full stays so: a client that never reads must not block the device."""
        if self._room.poll(0):
            os.eventfd_write(self.descriptor, 1)

    def drain(self) -> None:
        """Take what was signalled; must only be called when it is readable."""
        os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Let it go."""
        os.close(self.descriptor)
