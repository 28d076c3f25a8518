# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's memory as a device reaches it: shared RAM where the client handed a descriptor over, messages else."""

from __future__ import annotations

import errno
import mmap
from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from passthru.vfio.linux_vfio import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DMA_MAPS = 65535  # what the vfio-user specification promises by default


class Messages(Protocol):
    """DMA by messages; both raise OSError with the client's errno, and EDEADLK where they must not be waited for."""

    def dma_read(self, address: int, count: int) -> bytes:
        """DMA_READ."""

    def dma_write(self, address: int, data: bytes) -> None:
        """DMA_WRITE."""


@dataclass(frozen=True)
class DmaMap:
    """One mapped range of bytes; ``memory`` is the client's RAM, None where only messages reach it."""

    iova: int
    size: int
    flags: int
    memory: mmap.mmap | None = None

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.iova + self.size


def _start(dma_map: DmaMap) -> int:
    return dma_map.iova


class MappedMemory:
    """The mapped ranges, in order; none of them overlap."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._maps: list[DmaMap] = []

    def __len__(self) -> int:
        return len(self._maps)

    def map(self, iova: int, size: int, flags: int, descriptor: int | None = None, offset: int = 0) -> None:
        """Add a range. ``descriptor`` stays the caller's.

        Raises OSError: EINVAL for what is no range, EEXIST for one that overlaps, ENOSPC beyond MAX_DMA_MAPS, and
        what mmap says.
        """
        if not size or iova + size > 1 << 64 or not flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE):
            raise OSError(errno.EINVAL, f"no range: {size:#x} bytes at {iova:#x}, flags {flags:#x}")
        place = bisect_right(self._maps, iova, key=_start)
        if (place and self._maps[place - 1].end > iova) or (
            place < len(self._maps) and self._maps[place].iova < iova + size
        ):
            raise OSError(errno.EEXIST, f"{size:#x} bytes at {iova:#x} overlap a mapping")
        if len(self._maps) >= MAX_DMA_MAPS:
            raise OSError(errno.ENOSPC, "too many mappings")
        memory = None if descriptor is None else _mapped(descriptor, size, flags, offset)
        insort(self._maps, DmaMap(iova, size, flags, memory), key=_start)

    def unmap(self, iova: int, size: int) -> None:
        """Remove the range that was mapped as exactly this; raises OSError ENOENT where there is none."""
        place = bisect_right(self._maps, iova, key=_start) - 1
        if place < 0 or (self._maps[place].iova, self._maps[place].size) != (iova, size):
            raise OSError(errno.ENOENT, f"{size:#x} bytes at {iova:#x} are not mapped as such")
        _unmap(self._maps.pop(place))

    def clear(self) -> None:
        """Remove all ranges."""
        while self._maps:
            _unmap(self._maps.pop())

    def read(self, iova: int, size: int) -> bytes:
        """See `model.AddressSpace.read`."""
        return b"".join(
            self._messages.dma_read(address, count)
            if piece.memory is None
            else piece.memory[address - piece.iova : address - piece.iova + count]
            for piece, address, count in self._pieces(iova, size, VFIO_DMA_MAP_FLAG_READ)
        )

    def write(self, iova: int, data: bytes) -> None:
        """See `model.AddressSpace.write`. Where a later part is not mapped, nothing is written."""
        for piece, address, count in list(self._pieces(iova, len(data), VFIO_DMA_MAP_FLAG_WRITE)):
            part = data[address - iova : address - iova + count]
            if piece.memory is None:
                self._messages.dma_write(address, part)
            else:
                piece.memory[address - piece.iova : address - piece.iova + count] = part

    def _pieces(self, iova: int, size: int, wanted: int) -> Iterator[tuple[DmaMap, int, int]]:
        end = iova + size
        while iova < end:
            place = bisect_right(self._maps, iova, key=_start) - 1
            if place < 0 or self._maps[place].end <= iova:
                raise OSError(errno.EFAULT, f"address {iova:#x} is not mapped")
            piece = self._maps[place]
            if not piece.flags & wanted:
                raise OSError(errno.EACCES, f"address {iova:#x} is not mapped for this")
            count = min(end, piece.end) - iova
            yield piece, iova, count
            iova += count


def _mapped(descriptor: int, size: int, flags: int, offset: int) -> mmap.mmap:
    protection = mmap.PROT_READ if flags & VFIO_DMA_MAP_FLAG_READ else 0
    protection |= mmap.PROT_WRITE if flags & VFIO_DMA_MAP_FLAG_WRITE else 0
    try:
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection, offset=offset)
    except (ValueError, OverflowError) as error:  # longer than the file, or an offset that is no page
        raise OSError(errno.EINVAL, str(error)) from error


def _unmap(dma_map: DmaMap) -> None:
    if dma_map.memory is not None:
        dma_map.memory.close()
