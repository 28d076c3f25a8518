# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's memory as a device reaches it: shared RAM where the client handed a descriptor over, messages else."""

from __future__ import annotations

import errno
from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from passthru.emulation.client_ram import Scratch, share_ram
from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.emulation.client_ram import ClientRam

MAX_DMA_MAPS = 65535  # what the vfio-user specification promises by default
MAX_SHARED_MAPS = 32768  # the kernel gives a process 65530 mappings (vm.max_map_count), and Python needs some too
LONGEST_TRANSFER = 16 << 20  # bytes; a guest chooses the size of a transfer, not that of our memory


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
    memory: ClientRam | None = None

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.iova + self.size


def _start(dma_map: DmaMap) -> int:
    return dma_map.iova


class MappedMemory:
    """The mapped ranges, in order; none of them overlap. Without ``shared`` descriptors are not used."""

    def __init__(self, messages: Messages, *, shared: bool = True) -> None:
        self._messages = messages
        self._shared = shared
        self._scratch = Scratch()
        self._maps: list[DmaMap] = []
        self._shared_maps = 0

    def __len__(self) -> int:
        return len(self._maps)

    def map(self, iova: int, size: int, flags: int, descriptor: int | None = None, offset: int = 0) -> None:
        """Add a range. ``descriptor`` stays the caller's.

        Raises OSError: EINVAL for what is no range, EEXIST for one that overlaps, ENOSPC beyond MAX_DMA_MAPS, and
        what `client_ram.share_ram` says.
        """
        if not size or iova + size > 1 << 64 or not flags & (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE):
            raise OSError(errno.EINVAL, f"no range: {size:#x} bytes at {iova:#x}, flags {flags:#x}")
        place = bisect_right(self._maps, iova, key=_start)
        if (place and self._maps[place - 1].end > iova) or (
            place < len(self._maps) and self._maps[place].iova < iova + size
        ):
            raise OSError(errno.EEXIST, f"{size:#x} bytes at {iova:#x} overlap a mapping")
        memory = None
        if len(self._maps) >= MAX_DMA_MAPS:
            raise OSError(errno.ENOSPC, "too many mappings")
        if descriptor is not None and self._shared:
            if self._shared_maps >= MAX_SHARED_MAPS:
                raise OSError(errno.ENOSPC, "too many mappings of shared memory")
            memory = share_ram(descriptor, size, flags, offset, self._scratch)
            self._shared_maps += memory is not None
        insort(self._maps, DmaMap(iova, size, flags, memory), key=_start)

    def unmap(self, iova: int, size: int) -> None:
        """Remove the range that was mapped as exactly this; raises OSError ENOENT where there is none."""
        place = bisect_right(self._maps, iova, key=_start) - 1
        if place < 0 or (self._maps[place].iova, self._maps[place].size) != (iova, size):
            raise OSError(errno.ENOENT, f"{size:#x} bytes at {iova:#x} are not mapped as such")
        self._close(self._maps.pop(place))

    def clear(self) -> None:
        """Remove all ranges."""
        while self._maps:
            self._close(self._maps.pop())
        self._scratch.close()

    def read(self, iova: int, size: int) -> bytes:
        """See `model.AddressSpace.read`."""
        check_length(size)
        return b"".join(
            self._messages.dma_read(address, count)
            if piece.memory is None
            else piece.memory.read(address - piece.iova, count)
            for piece, address, count in self._pieces(iova, size, VFIO_DMA_MAP_FLAG_READ)
        )

    def write(self, iova: int, data: bytes) -> None:
        """See `model.AddressSpace.write`. Where a later part is not mapped, nothing is written."""
        check_length(len(data))
        for piece, address, count in list(self._pieces(iova, len(data), VFIO_DMA_MAP_FLAG_WRITE)):
            part = data[address - iova : address - iova + count]
            if piece.memory is None:
                self._messages.dma_write(address, part)
            else:
                piece.memory.write(address - piece.iova, part)

    def _close(self, dma_map: DmaMap) -> None:
        if dma_map.memory is not None:
            dma_map.memory.close()
            self._shared_maps -= 1

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


def check_length(size: int) -> None:
    """Raise OSError E2BIG for a transfer that is longer than `LONGEST_TRANSFER`."""
    if size > LONGEST_TRANSFER:
        raise OSError(errno.E2BIG, f"a transfer of {size} bytes; {LONGEST_TRANSFER} are the most")
