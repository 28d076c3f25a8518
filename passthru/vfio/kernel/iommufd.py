# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev/iommu: address spaces (IOAS) that devices are attached to. Documentation/userspace-api/iommufd.rst.

One method an ioctl, with its argument; nothing is checked or mended here. Addresses and lengths are bytes.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd as iommufd
from passthru.vfio.kernel.descriptor import Descriptor, opened
from passthru.vfio.kernel.memory import address_of

if TYPE_CHECKING:
    from passthru.vfio.transcript import Transcript

IOMMUFD = "/dev/iommu"
EVERYTHING = (1 << 64) - 1
"""The length by which ``unmap`` from address 0 takes everything away."""
_MOST_RANGES = 1 << 16


@dataclass(frozen=True)
class IovaRanges:
    """What an IOAS can map: first and last address of each range, and the alignment of addresses in bytes."""

    ranges: tuple[tuple[int, int], ...]
    alignment: int


@dataclass(frozen=True)
class HardwareInfo:
    """IOMMU_GET_HW_INFO: ``type`` is IOMMU_HW_INFO_TYPE_*, ``capabilities`` IOMMU_HW_CAP_*."""

    type: int
    capabilities: int


class Iommufd:
    """An open /dev/iommu. All raise OSError; closing it gives all of its objects back, once no device is bound."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str = IOMMUFD, transcript: Transcript | None = None) -> Iommufd:
        """Open a new one."""
        return cls(opened(path, transcript))

    def fileno(self) -> int:
        """Its descriptor."""
        return self.descriptor.fileno()

    def ioas_alloc(self) -> int:
        """IOMMU_IOAS_ALLOC; returns its id."""
        asked = iommufd.IOAS_ALLOC.pack(iommufd.IOAS_ALLOC.size, 0, 0)
        answer = self.descriptor.structure("IOMMU_IOAS_ALLOC", iommufd.IOMMU_IOAS_ALLOC, asked)
        return _field(iommufd.IOAS_ALLOC.unpack(answer), 2)

    def iova_ranges(self, ioas: int) -> IovaRanges:
        """IOMMU_IOAS_IOVA_RANGES; they change with the devices that are attached."""
        count = 16
        while True:
            room = bytearray(count * iommufd.IOVA_RANGE.size)
            with address_of(room) as address:
                fixed = iommufd.IOAS_IOVA_RANGES
                asked = bytearray(fixed.pack(fixed.size, ioas, count, 0, address, 0))
                found, alignment, fits = self._ranges(asked)
            if fits:
                ranges = tuple(iommufd.IOVA_RANGE.iter_unpack(room[: found * iommufd.IOVA_RANGE.size]))
                return IovaRanges(ranges, alignment)
            if found <= count or found > _MOST_RANGES:
                raise OSError(errno.EMSGSIZE, f"there was no room for {count} ranges, and {found} are told of")
            count = found

    def map(self, ioas: int, length: int, address: int, iova: int | None, flags: int) -> int:
        """IOMMU_IOAS_MAP of this process's memory from ``address`` on; returns the IOVA, chosen where None is given.

        ``flags`` are IOMMU_IOAS_MAP_*, of which FIXED_IOVA comes by itself.
        """
        fixed, at = _place(iova)
        layout = iommufd.IOAS_MAP
        asked = layout.pack(layout.size, flags | fixed, ioas, 0, address, length, at)
        answer = self.descriptor.structure("IOMMU_IOAS_MAP", iommufd.IOMMU_IOAS_MAP, asked)
        return _field(layout.unpack(answer), 6)

    def map_file(self, ioas: int, length: int, file: int, start: int, iova: int | None, flags: int) -> int:
        """IOMMU_IOAS_MAP_FILE of a memfd from byte ``start`` on, else as ``map``; ENOTTY before Linux 6.13."""
        fixed, at = _place(iova)
        layout = iommufd.IOAS_MAP_FILE
        asked = layout.pack(layout.size, flags | fixed, ioas, file, start, length, at)
        answer = self.descriptor.structure("IOMMU_IOAS_MAP_FILE", iommufd.IOMMU_IOAS_MAP_FILE, asked)
        return _field(layout.unpack(answer), 6)

    def unmap(self, ioas: int, iova: int, length: int) -> int:
        """IOMMU_IOAS_UNMAP; returns how many bytes were unmapped. 0 and EVERYTHING is everything."""
        asked = iommufd.IOAS_UNMAP.pack(iommufd.IOAS_UNMAP.size, ioas, iova, length)
        answer = self.descriptor.structure("IOMMU_IOAS_UNMAP", iommufd.IOMMU_IOAS_UNMAP, asked)
        return _field(iommufd.IOAS_UNMAP.unpack(answer), 3)

    def copy(self, source: int, source_iova: int, destination: int, iova: int | None, length: int, flags: int) -> int:
        """IOMMU_IOAS_COPY of a mapping from one IOAS to another; returns its IOVA there."""
        fixed, at = _place(iova)
        layout = iommufd.IOAS_COPY
        asked = layout.pack(layout.size, flags | fixed, destination, source, length, at, source_iova)
        answer = self.descriptor.structure("IOMMU_IOAS_COPY", iommufd.IOMMU_IOAS_COPY, asked)
        return _field(layout.unpack(answer), 5)

    def allow_iovas(self, ioas: int, ranges: tuple[tuple[int, int], ...]) -> None:
        """IOMMU_IOAS_ALLOW_IOVAS: these (first, last) must stay possible, whichever device is attached."""
        room = bytearray(b"".join(iommufd.IOVA_RANGE.pack(*each) for each in ranges) or bytes(iommufd.IOVA_RANGE.size))
        with address_of(room) as address:
            layout = iommufd.IOAS_ALLOW_IOVAS
            asked = layout.pack(layout.size, ioas, len(ranges), 0, address)
            self.descriptor.structure("IOMMU_IOAS_ALLOW_IOVAS", iommufd.IOMMU_IOAS_ALLOW_IOVAS, asked)

    def destroy(self, identity: int) -> None:
        """IOMMU_DESTROY of an object; EBUSY while it is used."""
        asked = iommufd.DESTROY.pack(iommufd.DESTROY.size, identity)
        self.descriptor.structure("IOMMU_DESTROY", iommufd.IOMMU_DESTROY, asked)

    def option(self, option: int, identity: int = 0) -> int:
        """IOMMU_OPTION: the value of IOMMU_OPTION_*, of an object where it has one."""
        return self._option(option, iommufd.IOMMU_OPTION_OP_GET, identity, 0)

    def set_option(self, option: int, value: int, identity: int = 0) -> None:
        """IOMMU_OPTION: set IOMMU_OPTION_*, of an object where it has one."""
        self._option(option, iommufd.IOMMU_OPTION_OP_SET, identity, value)

    def hardware_info(self, device: int) -> HardwareInfo:
        """IOMMU_GET_HW_INFO of the IOMMU behind a bound device, without what only one sort of IOMMU has."""
        asked = iommufd.HW_INFO.pack(iommufd.HW_INFO.size, 0, device, 0, 0, 0, 0, 0)
        answer = self.descriptor.structure("IOMMU_GET_HW_INFO", iommufd.IOMMU_GET_HW_INFO, asked)
        found = iommufd.HW_INFO.unpack(answer)
        return HardwareInfo(found[5], found[7])

    def close(self) -> None:
        """Close it."""
        self.descriptor.close()

    def _ranges(self, asked: bytearray) -> tuple[int, int, bool]:
        """Number of ranges, alignment, whether there was room; the kernel answers in place even where there was not."""
        fits = True
        try:
            self.descriptor.in_place("IOMMU_IOAS_IOVA_RANGES", iommufd.IOMMU_IOAS_IOVA_RANGES, asked)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            fits = False
        found = iommufd.IOAS_IOVA_RANGES.unpack(asked)
        return found[2], found[5], fits

    def _option(self, option: int, operation: int, identity: int, value: int) -> int:
        asked = iommufd.OPTION.pack(iommufd.OPTION.size, option, operation, 0, identity, value)
        answer = self.descriptor.structure("IOMMU_OPTION", iommufd.IOMMU_OPTION, asked)
        return _field(iommufd.OPTION.unpack(answer), 5)


def _place(iova: int | None) -> tuple[int, int]:
    """The flag for an IOVA, and the IOVA."""
    return (0, 0) if iova is None else (iommufd.IOMMU_IOAS_MAP_FIXED_IOVA, iova)


def _field(values: tuple[int, ...], number: int) -> int:
    return values[number]
