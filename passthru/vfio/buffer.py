# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory for a device's DMA: a memfd, so that the kernel and a device server see the same bytes as this process."""

from __future__ import annotations

import mmap
import os


class Buffer:
    """``size`` bytes, a multiple of a page, all zero at first; ``memory`` is where this process sees them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("dma")
        try:
            os.ftruncate(self.descriptor, size)
            self.memory = mmap.mmap(self.descriptor, size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Give the memory back; closing again does nothing."""
        if self.descriptor >= 0:
            self.memory.close()
            os.close(self.descriptor)
            self.descriptor = -1
