# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things are in the guest's three windows.

The guest's device tree has them as the ranges of types 0 (MC portals) and 1 (QBMan portals), and the container's own
portal and the control registers as ``reg``. Offsets and sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

PORTAL_STRIDE, PORTALS = 0x10000, 64
PORTALS_SIZE = PORTAL_STRIDE * PORTALS
QUEUE_STRIDE, QUEUES = 0x10000, 64
"""Of the regions of dpios; a dpio has two."""
QUEUES_SIZE = QUEUE_STRIDE * QUEUES
CONTROL_SIZE = 0x10000
STATUS_REGISTER, FIRMWARE_RUNS = 0x8, 0x1
"""Of the control registers (GSR): some kernels look at it, and not at whether there are such registers (6.1.192)."""

Name = TypeVar("Name", bound=Hashable)


class Places(Generic[Name]):
    """Who has which of ``count`` places, ``stride`` bytes each; whoever has one keeps it."""

    def __init__(self, stride: int, count: int) -> None:
        self._stride = stride
        self._count = count
        self.taken: dict[Name, int] = {}
        """The offset of each."""

    def of(self, name: Name) -> int | None:
        """The offset of the place that ``name`` has, or has from now on; None where there are no more."""
        if name not in self.taken:
            if len(self.taken) == self._count:
                return None
            self.taken[name] = len(self.taken) * self._stride
        return self.taken[name]
