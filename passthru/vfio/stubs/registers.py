# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of a region as numbers, little endian: by reading and writing it, or in its mapping."""

from __future__ import annotations

import errno
import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.device import VfioDevice


class Registers:
    """``size`` is the bytes of one register."""

    def __init__(self, device: VfioDevice, region: int, size: int = 4) -> None:
        self._device = device
        self._region = region
        self._size = size

    def __getitem__(self, offset: int) -> int:
        """Raises OSError; EIO where fewer bytes came."""
        return self.get(offset, self._size)

    def __setitem__(self, offset: int, value: int) -> None:
        """Raises OSError; EIO where fewer bytes were taken."""
        self.put(offset, value, self._size)

    def get(self, offset: int, size: int) -> int:
        """A register of another size."""
        data = self._device.read(self._region, offset, size)
        if len(data) != size:
            raise OSError(errno.EIO, f"region {self._region} gave {len(data)} of {size} bytes at {offset:#x}")
        return int.from_bytes(data, "little")

    def put(self, offset: int, value: int, size: int) -> None:
        """A register of another size."""
        taken = self._device.write(self._region, offset, value.to_bytes(size, "little"))
        if taken != size:
            raise OSError(errno.EIO, f"region {self._region} took {taken} of {size} bytes at {offset:#x}")


class MappedRegisters:
    """Registers of 4 bytes in memory; those of 8 are loaded and stored as two, the lower one first."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def __getitem__(self, offset: int) -> int:
        value: int = self._words[offset // 4]
        return value

    def __setitem__(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value

    def get(self, offset: int, size: int) -> int:
        """A register of 4 or 8 bytes."""
        return sum(self[offset + at] << 8 * at for at in range(0, size, 4))

    def put(self, offset: int, value: int, size: int) -> None:
        """A register of 4 or 8 bytes."""
        for at in range(0, size, 4):
            self[offset + at] = value >> 8 * at & 0xFFFFFFFF


@contextmanager
def mapped(device: VfioDevice, region: int) -> Iterator[MappedRegisters]:
    """The registers in the first page of a region. Mapped for as long only: a mapping holds its device open."""
    memory = device.map(region, 0, mmap.PAGESIZE)
    try:
        with memoryview(memory) as view, view.cast("I") as words:
            yield MappedRegisters(words)
    finally:
        memory.close()
