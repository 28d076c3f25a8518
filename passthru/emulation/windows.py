# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows: registers that are plain memory, which the driver reads and writes whenever it likes.

Nothing traps there: a read has no effect, two quick writes are one. So the registers of a model whose ``access`` is
"memory" are agreements. A doorbell is a register that the driver sets to something other than 0 when what belongs to it
is complete; the device finds it, acts, writes what came of it, and sets the doorbell back to 0 last. The driver waits
for that before it rings again.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from passthru.emulation.regions import Region
from passthru.emulation.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable


class Window(Region):
    """``size`` bytes, a multiple of the page size: memory of ours, until a plug says where they are instead.

    ``rung`` is called after a write that came through a plug that traps; one that does not looks by itself.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.rung: Callable[[], None] = _nothing
        self._own: mmap.mmap | None = mmap.mmap(-1, size)
        self.words = Words(memoryview(self._own))

    def place(self, memory: memoryview) -> None:
        """The window is ``memory`` from now on, which has its size and keeps its content."""
        if len(memory) != self.size:
            raise ValueError(f"a window of {self.size} bytes cannot be {len(memory)} bytes of memory")
        self._release()
        self.words = Words(memory)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self.words.memory[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        self.words.memory[offset : offset + len(data)] = data
        self.rung()

    def close(self) -> None:
        self._release()

    def _release(self) -> None:
        self.words.release()
        if self._own is not None:
            self._own.close()
            self._own = None


def _nothing() -> None:
    pass
