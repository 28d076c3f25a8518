# SPDX-License-Identifier: GPL-2.0-or-later
"""The outside of a device: the far end of the wire, where what the guest sends comes out and more can be put in.

Who runs the checks gives it for the hardware that has such an end, or does not: then a check that needs it is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from passthru.deadline import Deadline


class Line(Protocol):
    """A wire without messages: bytes come out in pieces of any size."""

    async def read(self, deadline: Deadline) -> bytes:
        """The bytes that have come since, at least one; b"" once the other side has ended the line.

        Raises DeadlineExceeded; a deadline that has passed already takes what is there.
        """

    async def write(self, data: bytes, deadline: Deadline) -> None:
        """Put all of ``data`` in. Raises DeadlineExceeded while nobody takes it, Unusable once the line has ended."""
