# SPDX-License-Identifier: GPL-2.0-or-later
"""Our memory as the server reaches it by DMA_READ and DMA_WRITE: what is mapped, and no more."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE


@dataclass(frozen=True)
class _Range:
    iova: int
    size: int
    descriptor: int  # a duplicate, ours to close
    offset: int
    flags: int


class ServedMemory:
    """The mapped ranges of addresses, each a part of a memfd; how they came to be is the server's word."""

    def __init__(self) -> None:
        self._ranges: dict[int, _Range] = {}

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def mapped(self) -> int:
        """Bytes in all."""
        return sum(each.size for each in self._ranges.values())

    def add(self, iova: int, size: int, descriptor: int, offset: int, flags: int) -> None:
        """Serve a range of a descriptor, which stays the caller's."""
        self._forget(iova)
        self._ranges[iova] = _Range(iova, size, os.dup(descriptor), offset, flags)

    def remove(self, iova: int, size: int) -> None:
        """Serve what is in this range no longer."""
        for each in list(self._ranges.values()):
            if iova <= each.iova and each.iova + each.size <= iova + size:
                self._forget(each.iova)

    def clear(self) -> None:
        """Serve nothing."""
        for iova in list(self._ranges):
            self._forget(iova)

    def read(self, iova: int, count: int) -> bytes:
        """Raises OSError: EFAULT for what is not mapped, EACCES for what is not mapped for this."""
        return b"".join(
            os.pread(each.descriptor, size, each.offset + at - each.iova)
            for each, at, size in self._pieces(iova, count, VFIO_DMA_MAP_FLAG_READ)
        )

    def write(self, iova: int, data: bytes) -> None:
        """As `read`; where a later part is not mapped, nothing is written."""
        for each, at, size in self._pieces(iova, len(data), VFIO_DMA_MAP_FLAG_WRITE):
            os.pwrite(each.descriptor, data[at - iova : at - iova + size], each.offset + at - each.iova)

    def _pieces(self, iova: int, count: int, wanted: int) -> list[tuple[_Range, int, int]]:
        found = []
        end = iova + count
        while iova < end:
            for each in self._ranges.values():
                if each.iova <= iova < each.iova + each.size:
                    break
            else:
                raise OSError(errno.EFAULT, f"address {iova:#x} is not mapped")
            if not each.flags & wanted:
                raise OSError(errno.EACCES, f"address {iova:#x} is not mapped for this")
            size = min(end, each.iova + each.size) - iova
            found.append((each, iova, size))
            iova += size
        return found

    def _forget(self, iova: int) -> None:
        if each := self._ranges.pop(iova, None):
            os.close(each.descriptor)
