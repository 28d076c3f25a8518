# SPDX-License-Identifier: GPL-2.0-or-later
"""File descriptors where they cannot be confused with standard input, output and error.

A process that was started with its standard descriptors closed (``<&- >&- 2>&-``) gets the numbers 0 to 2 for the next
files it opens; whatever then writes to "standard output" writes into them, and they cannot be handed to a child by
number, since the child's own standard descriptors take their place.
"""

from __future__ import annotations

import fcntl
import os

FIRST_FREE = 3


def above_standard(fd: int) -> int:
    """``fd`` itself when it is 3 or more, else a copy that is (close-on-exec), with ``fd`` closed."""
    if fd >= FIRST_FREE:
        return fd
    moved: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(fd)
    return moved


def tidy_standard(fd: int) -> int:
    """Make descriptors 0 to 2 exist (closed ones become /dev/null) and ``fd`` none of them; returns where it is now."""
    os.fstat(fd)
    fd = above_standard(fd)
    fill_standard()
    os.set_inheritable(fd, False)
    return fd


def fill_standard() -> None:
    """Make descriptors 0 to 2 exist: closed ones become /dev/null, so that no file opened later takes their place."""
    null = above_standard(os.open(os.devnull, os.O_RDWR))
    for standard in range(FIRST_FREE):
        try:
            os.fstat(standard)
        except OSError:
            os.dup2(null, standard)
    os.close(null)
