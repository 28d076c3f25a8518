# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors of a client that the server holds on to: as many as there is room for, but for a reserve."""

from __future__ import annotations

import errno
import os
import resource

# What is needed although a client has us hold all that it can: descriptors of a message that has begun (16), those of
# the part of it that is received (16), the connection of somebody who has to be refused, memory to copy through.
RESERVE = 40


def check_room(descriptor: int) -> None:
    """Raise OSError EMFILE where one more duplicate of ``descriptor`` would be one of the reserve.

    The kernel hands out the lowest number that is free, so all below it are in use.
    """
    probe = os.dup(descriptor)
    os.close(probe)
    if probe >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVE:
        raise OSError(errno.EMFILE, "too many descriptors are held for this client")
