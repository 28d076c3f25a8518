# SPDX-License-Identifier: GPL-2.0-or-later
"""`DmaSpace` by the kernel: the type1 IOMMU of a container, and an address space of an iommufd."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.device import READ_WRITE, DmaInfo
from passthru.vfio.info_capabilities import DmaAvailable, IovaRanges
from passthru.vfio.kernel.iommufd import EVERYTHING
from passthru.vfio.kernel.memory import MappedFiles

if TYPE_CHECKING:
    from passthru.vfio.kernel.container import Container
    from passthru.vfio.kernel.iommufd import Iommufd


class ContainerDma:
    """The addresses that the devices of a container see."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._files = MappedFiles()

    def info(self) -> DmaInfo:
        """VFIO_IOMMU_GET_INFO."""
        found = self.container.iommu_info()
        ranges = [each.ranges for each in found.capabilities if isinstance(each, IovaRanges)]
        available = [each.available for each in found.capabilities if isinstance(each, DmaAvailable)]
        return DmaInfo(
            found.page_sizes, ranges[0] if ranges else (), available[0] if available else None, found.capabilities
        )

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = READ_WRITE) -> None:
        """VFIO_IOMMU_MAP_DMA of where the memfd is mapped in this process."""
        self.container.map(iova, size, self._files.address(memory, offset), flags)
        self._files.seen(iova, size, memory)

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        """VFIO_IOMMU_UNMAP_DMA; where nothing was mapped, 0 bytes were unmapped."""
        unmapped = self.container.unmap(iova, size, flags)
        if flags & iommu.VFIO_DMA_UNMAP_FLAG_ALL:
            self._files.unseen(0, EVERYTHING)
        elif not flags & iommu.VFIO_DMA_UNMAP_FLAG_VADDR:
            self._files.unseen(iova, size)
        return unmapped

    def close(self) -> None:
        """Let our side of the memory go; the container's ends with the container."""
        self._files.close()


class IoasDma:
    """The addresses that the devices see which are attached to an IOAS."""

    def __init__(self, iommufd: Iommufd, ioas: int) -> None:
        self.iommufd = iommufd
        self.ioas = ioas
        self._files = MappedFiles()
        self._takes_files: bool | None = None

    def info(self) -> DmaInfo:
        """IOMMU_IOAS_IOVA_RANGES: what it calls alignment is the smallest page."""
        found = self.iommufd.iova_ranges(self.ioas)
        return DmaInfo(found.alignment, found.ranges)

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = READ_WRITE) -> None:
        """IOMMU_IOAS_MAP_FILE where the kernel has it (6.13), else IOMMU_IOAS_MAP of where the memfd is mapped.

        An IOAS has other numbers for VFIO's flags; those that mean nothing to VFIO mean nothing to it either.
        """
        wanted = _ioas_flags(flags)
        if self._takes_files is not False:
            try:
                self.iommufd.map_file(self.ioas, size, memory, offset, iova, wanted)
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    raise
                self._takes_files = False
            else:
                self._takes_files = True
                return
        self.iommufd.map(self.ioas, size, self._files.address(memory, offset), iova, wanted)
        self._files.seen(iova, size, memory)

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        """IOMMU_IOAS_UNMAP; ENOENT where nothing was mapped. Of VFIO's flags, it can do as ALL demands."""
        if flags == iommu.VFIO_DMA_UNMAP_FLAG_ALL and not iova and not size:
            size = EVERYTHING
        elif flags:
            raise OSError(errno.EOPNOTSUPP, f"an IOAS has nothing like the flags {flags:#x} of VFIO_IOMMU_UNMAP_DMA")
        unmapped = self.iommufd.unmap(self.ioas, iova, size)
        self._files.unseen(iova, size)
        return unmapped

    def close(self) -> None:
        """Let our side of the memory go; the IOAS ends with the iommufd."""
        self._files.close()


def _ioas_flags(flags: int) -> int:
    """IOMMU_IOAS_MAP_* for VFIO_DMA_MAP_FLAG_*; unknown ones become unknown ones, for the kernel to refuse."""
    wanted = linux_iommufd.IOMMU_IOAS_MAP_READABLE if flags & iommu.VFIO_DMA_MAP_FLAG_READ else 0
    wanted |= linux_iommufd.IOMMU_IOAS_MAP_WRITEABLE if flags & iommu.VFIO_DMA_MAP_FLAG_WRITE else 0
    return wanted | (flags & ~READ_WRITE) << _UNKNOWN_SHIFT & 0xFFFFFFFF


_UNKNOWN_SHIFT = 8
