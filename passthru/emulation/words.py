# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that somebody else writes at the same time, read and written in whole words.

A driver looks at such memory while we write it: a word must change at once, never byte by byte. An element of a cast
memoryview is one aligned access of the machine's; a slice need not be. Registers are little-endian, as are all machines
that passthru runs on.
"""

from __future__ import annotations


class Words:
    """``memory``, writable, of a length that is a multiple of 8, in words of 4 and 8 bytes; offsets are aligned."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self._words = memory.cast("I")
        self._longs = memory.cast("Q")

    def get(self, offset: int) -> int:
        """The 4 bytes at ``offset``."""
        return self._words[offset >> 2]

    def put(self, offset: int, value: int) -> None:
        """Write the low 4 bytes of ``value``."""
        self._words[offset >> 2] = value & 0xFFFFFFFF

    def get_long(self, offset: int) -> int:
        """The 8 bytes at ``offset``."""
        return self._longs[offset >> 3]

    def put_long(self, offset: int, value: int) -> None:
        """Write the low 8 bytes of ``value``."""
        self._longs[offset >> 3] = value & 0xFFFFFFFFFFFFFFFF

    def release(self) -> None:
        """Let the memory go, so that what it belongs to can be closed."""
        self._words.release()
        self._longs.release()
        self.memory.release()
