# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a transfer, as the result registers of our DMA devices tell it."""

from __future__ import annotations

import errno
from enum import IntEnum


class Result(IntEnum):
    """What came of the last transfer."""

    NONE = 0
    """None has ended since the reset."""
    DONE = 1
    UNMAPPED = 2
    """Nothing is mapped at an address of RAM."""
    FORBIDDEN = 3
    """It is mapped, but not for this direction."""
    NO_BUS_MASTER = 4
    """The command register does not let the device master the bus."""
    OUT_OF_BUFFER = 5
    """The device cannot transfer so much, or not there; also for a count of 0."""
    REFUSED = 6
    """RAM could not be reached otherwise."""


def result_of(error: OSError) -> Result:
    """The result that an error of an `AddressSpace` means."""
    return _RESULTS.get(error.errno or 0, Result.REFUSED)


def flipped(data: bytes) -> bytes:
    """``data`` with a bit of its last byte flipped, for defects."""
    return data[:-1] + bytes((data[-1] ^ 0x10,))


_RESULTS = {errno.EFAULT: Result.UNMAPPED, errno.EACCES: Result.FORBIDDEN}
