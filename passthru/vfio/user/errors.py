# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device server can do wrong, apart from what it refuses."""

from __future__ import annotations

import errno
import os


class ProtocolError(ConnectionError):
    """The server sent what the protocol does not allow; the sentence says what was asked and what came.

    Nothing that follows can be relied upon, so the connection is given up.
    """


class GivenUp(ConnectionError):
    """The connection has ended before; the sentence says for what."""


class Refused(OSError):
    """The server answered with an errno, whatever that is: ETIMEDOUT from it is no TimeoutError of ours."""

    def __init__(self, number: int, asked: str) -> None:
        super().__init__(number, f"the device server refused {asked}: {os.strerror(number)}")


LARGEST_ERRNO = 4095  # MAX_ERRNO of the kernel


def refusal(number: int, asked: str) -> Refused:
    """The errno of a reply as an error; the specification lets it be 0, which says no more than EIO does."""
    return Refused(number or errno.EIO, asked)
