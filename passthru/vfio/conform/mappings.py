# SPDX-License-Identifier: GPL-2.0-or-later
"""A `DmaSpace` that remembers what was mapped, so that a test leaves nothing behind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from passthru.vfio.device import READ_WRITE

if TYPE_CHECKING:
    from passthru.vfio.device import DmaInfo, DmaSpace


class TrackedDmaSpace:
    """``space`` with a memory; see `DmaSpace`. What a transport offers beyond it is found at ``space``."""

    def __init__(self, space: DmaSpace) -> None:
        self.space = space
        self._mapped: dict[int, int] = {}

    def info(self) -> DmaInfo:
        return self.space.info()

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = READ_WRITE) -> None:
        self.space.map(iova, size, memory, offset, flags)
        self._mapped[iova] = size

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        unmapped = self.space.unmap(iova, size, flags)
        if self._mapped.get(iova) == size and unmapped == size:
            del self._mapped[iova]
        return unmapped

    def unmap_all(self) -> None:
        """Unmap what is left; what was unmapped by a larger range before is refused now, and that is no matter."""
        for iova, size in self._mapped.items():
            with contextlib.suppress(OSError):
                self.space.unmap(iova, size)
        self._mapped.clear()
