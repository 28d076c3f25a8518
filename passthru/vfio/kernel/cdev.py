# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's own file, /dev/vfio/devices/vfioN: bound to an iommufd, attached to an address space of it.

Documentation/driver-api/vfio.rst, "VFIO Device cdev". Since Linux 6.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.answers import fields
from passthru.vfio.kernel.descriptor import opened

if TYPE_CHECKING:
    from passthru.vfio.kernel.descriptor import Descriptor
    from passthru.vfio.transcript import Transcript


class DeviceFile:
    """An open file of a device; until it is bound, the device itself answers nothing. All raise OSError."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str, transcript: Transcript | None = None) -> DeviceFile:
        """Open it."""
        return cls(opened(path, transcript))

    def bind(self, iommufd: int) -> int:
        """VFIO_DEVICE_BIND_IOMMUFD; ``iommufd`` is a descriptor. Returns the device's id there."""
        asked = vfio.BIND_IOMMUFD.pack(vfio.BIND_IOMMUFD.size, 0, iommufd, 0)
        return fields("vfio_device_bind_iommufd", vfio.BIND_IOMMUFD, self.bind_raw(asked))[3]

    def bind_raw(self, structure: bytes) -> bytes:
        """VFIO_DEVICE_BIND_IOMMUFD with a structure as it stands; returns it as it came back."""
        return self.descriptor.structure("VFIO_DEVICE_BIND_IOMMUFD", vfio.VFIO_DEVICE_BIND_IOMMUFD, structure)

    def attach(self, page_table: int) -> int:
        """VFIO_DEVICE_ATTACH_IOMMUFD_PT to an IOAS; returns the id of the page table that was made for it."""
        asked = vfio.ATTACH_IOMMUFD_PT.pack(vfio.ATTACH_IOMMUFD_PT.size, 0, page_table)
        return fields("vfio_device_attach_iommufd_pt", vfio.ATTACH_IOMMUFD_PT, self.attach_raw(asked))[2]

    def attach_raw(self, structure: bytes) -> bytes:
        """VFIO_DEVICE_ATTACH_IOMMUFD_PT with a structure as it stands; returns it as it came back."""
        return self.descriptor.structure("VFIO_DEVICE_ATTACH_IOMMUFD_PT", vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT, structure)

    def detach(self) -> None:
        """VFIO_DEVICE_DETACH_IOMMUFD_PT; afterwards no DMA of the device goes anywhere."""
        self.detach_raw(vfio.DETACH_IOMMUFD_PT.pack(vfio.DETACH_IOMMUFD_PT.size, 0))

    def detach_raw(self, structure: bytes) -> bytes:
        """VFIO_DEVICE_DETACH_IOMMUFD_PT with a structure as it stands; returns it as it came back."""
        return self.descriptor.structure("VFIO_DEVICE_DETACH_IOMMUFD_PT", vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT, structure)

    def close(self) -> None:
        """Close it, which detaches and unbinds the device."""
        self.descriptor.close()
