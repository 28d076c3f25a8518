# SPDX-License-Identifier: GPL-2.0-or-later
"""The container, /dev/vfio/vfio, with the type1 IOMMU behind it: Documentation/driver-api/vfio.rst.

One method an ioctl, with its argument; nothing is checked or mended here. Addresses and sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import answers
from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.info_capabilities import IOMMU, InfoCapability
from passthru.vfio.kernel.descriptor import Descriptor, opened
from passthru.vfio.kernel.memory import address_of

if TYPE_CHECKING:
    from passthru.vfio.transcript import Transcript

CONTAINER = "/dev/vfio/vfio"


@dataclass(frozen=True)
class IommuInfo:
    """``struct vfio_iommu_type1_info``: ``page_sizes`` has a bit for each size."""

    flags: int
    page_sizes: int
    capabilities: tuple[InfoCapability, ...]


class Container:
    """An open container. All raise OSError; closing it, with its groups and devices, gives all of it back."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str = CONTAINER, transcript: Transcript | None = None) -> Container:
        """Open a new one."""
        return cls(opened(path, transcript))

    def fileno(self) -> int:
        """Its descriptor."""
        return self.descriptor.fileno()

    def api_version(self) -> int:
        """VFIO_GET_API_VERSION."""
        return self.descriptor.plain("VFIO_GET_API_VERSION", vfio.VFIO_GET_API_VERSION)

    def check_extension(self, extension: int) -> int:
        """VFIO_CHECK_EXTENSION; 0 is no."""
        return self.descriptor.plain("VFIO_CHECK_EXTENSION", vfio.VFIO_CHECK_EXTENSION, extension)

    def set_iommu(self, extension: int) -> None:
        """VFIO_SET_IOMMU, which needs a group in the container."""
        self.descriptor.plain("VFIO_SET_IOMMU", vfio.VFIO_SET_IOMMU, extension)

    def iommu_info(self) -> IommuInfo:
        """VFIO_IOMMU_GET_INFO with its capabilities. Raises Malformed as well."""
        first = iommu.IOMMU_INFO.pack(IOMMU.size, 0, 0) + bytes(iommu.IOMMU_INFO_CAPS.size)
        answer = answers.ask(
            lambda asked: self.descriptor.structure("VFIO_IOMMU_GET_INFO", iommu.VFIO_IOMMU_GET_INFO, asked), first
        )
        _, flags, page_sizes = answers.fields(IOMMU.structure, iommu.IOMMU_INFO, answer)
        has_chain = flags & iommu.VFIO_IOMMU_INFO_CAPS
        return IommuInfo(flags, page_sizes, answers.chain_of(IOMMU, answer, iommu.IOMMU_INFO.size) if has_chain else ())

    def map(self, iova: int, size: int, address: int, flags: int) -> None:
        """VFIO_IOMMU_MAP_DMA of ``size`` bytes of this process's memory from ``address`` on."""
        self.map_raw(iommu.IOMMU_MAP.pack(iommu.IOMMU_MAP.size, flags, address, iova, size))

    def map_raw(self, structure: bytes) -> None:
        """VFIO_IOMMU_MAP_DMA with a structure as it stands."""
        self.descriptor.structure("VFIO_IOMMU_MAP_DMA", iommu.VFIO_IOMMU_MAP_DMA, structure)

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        """VFIO_IOMMU_UNMAP_DMA; returns how many bytes were unmapped."""
        answer = self.unmap_raw(iommu.IOMMU_UNMAP.pack(iommu.IOMMU_UNMAP.size, flags, iova, size))
        unmapped: int = iommu.IOMMU_UNMAP.unpack_from(answer)[3]
        return unmapped

    def unmap_raw(self, structure: bytes) -> bytes:
        """VFIO_IOMMU_UNMAP_DMA with a structure as it stands; returns it as it came back."""
        return self.descriptor.structure("VFIO_IOMMU_UNMAP_DMA", iommu.VFIO_IOMMU_UNMAP_DMA, structure)

    def unmap_with_bitmap(self, iova: int, size: int, page: int) -> tuple[int, bytes]:
        """VFIO_IOMMU_UNMAP_DMA that tells which pages of ``page`` bytes are dirty.

        Returns the bytes unmapped and the bitmap, whose least bit is the first page.
        """
        bitmap = _bitmap(size, page)
        with address_of(bitmap) as address:
            head = iommu.IOMMU_UNMAP.pack(
                iommu.IOMMU_UNMAP.size + iommu.BITMAP.size, iommu.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, iova, size
            )
            answer = self.unmap_raw(head + iommu.BITMAP.pack(page, len(bitmap), address))
        return iommu.IOMMU_UNMAP.unpack_from(answer)[3], bytes(bitmap)

    def track_dirty(self, on: bool) -> None:
        """VFIO_IOMMU_DIRTY_PAGES: start or stop."""
        flag = iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_START if on else iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
        self.dirty_pages_raw(iommu.DIRTY_PAGES.pack(iommu.DIRTY_PAGES.size, flag))

    def dirty_bitmap(self, iova: int, size: int, page: int) -> bytes:
        """VFIO_IOMMU_DIRTY_PAGES: which pages of ``page`` bytes are dirty; the least bit is the first of them."""
        bitmap = _bitmap(size, page)
        argsz = iommu.DIRTY_PAGES.size + iommu.DIRTY_PAGES_RANGE.size + iommu.BITMAP.size
        with address_of(bitmap) as address:
            self.dirty_pages_raw(
                iommu.DIRTY_PAGES.pack(argsz, iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
                + iommu.DIRTY_PAGES_RANGE.pack(iova, size)
                + iommu.BITMAP.pack(page, len(bitmap), address)
            )
        return bytes(bitmap)

    def dirty_pages_raw(self, structure: bytes) -> None:
        """VFIO_IOMMU_DIRTY_PAGES with a structure as it stands."""
        self.descriptor.structure("VFIO_IOMMU_DIRTY_PAGES", iommu.VFIO_IOMMU_DIRTY_PAGES, structure)

    def close(self) -> None:
        """Close it."""
        self.descriptor.close()


def _bitmap(size: int, page: int) -> bytearray:
    """Room for a bit a page, in whole words of 64 as the kernel demands."""
    return bytearray((size // page + 63) // 64 * 8)
