# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions of a device: where its registers and its memory are."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from passthru.vfio.linux_vfio import VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE


class Region:
    """A region that answers accesses by calls; this one is absent, models override `read` and `write`.

    ``size`` is what clients are told, in bytes. ``extent`` is how far accesses may reach: it is ``size`` but for
    models of devices that let them reach further. ``offset`` is what region info tells besides: the place in
    ``descriptor`` for a region that can be mapped, a number without a meaning else. ``areas`` are the parts that can
    be mapped, (offset, size) each; none of them with a ``descriptor`` means the whole region.

    The plug checks each access against ``extent`` and ``flags`` before it calls. `read` returns exactly ``count``
    bytes; both may raise OSError, whose errno is what the client gets.
    """

    descriptor: int | None = None
    areas: tuple[tuple[int, int], ...] = ()

    def __init__(
        self,
        size: int = 0,
        *,
        extent: int | None = None,
        flags: int = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
        offset: int = 0,
    ) -> None:
        self.size = size
        self.extent = size if extent is None else extent
        self.flags = flags
        self.offset = offset

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes from ``offset``."""
        raise OSError(errno.EINVAL, "this region has nothing to read")

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``."""
        raise OSError(errno.EINVAL, "this region takes no writes")

    def close(self) -> None:
        """Give back what the region holds of the system."""


class MemoryRegion(Region):
    """Plain memory that clients can map, whole or in ``areas`` (page aligned); ``memory`` is the device's own view.

    A client gets the descriptor of all of it, whatever ``areas`` say, and can write it at any time: what the device
    relies on does not belong here. The size is sealed, for a touch of what a client cut off would be our death.
    """

    def __init__(self, size: int, *, areas: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__(size)
        if any(offset % mmap.PAGESIZE or length % mmap.PAGESIZE or offset + length > size for offset, length in areas):
            raise ValueError(f"areas {areas} are not pages of a region of {size} bytes")
        self.descriptor = os.memfd_create("passthru-region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.descriptor, size)
        self.areas = areas

    def read(self, offset: int, count: int) -> bytes:
        return self.memory[offset : offset + count]

    def write(self, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data

    def close(self) -> None:
        if self.descriptor is not None:
            self.memory.close()
            os.close(self.descriptor)
            self.descriptor = None
