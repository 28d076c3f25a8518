# SPDX-License-Identifier: GPL-2.0-or-later
"""A group, /dev/vfio/GROUP: the devices that the IOMMU cannot tell apart. Documentation/driver-api/vfio.rst."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.answers import fields
from passthru.vfio.kernel.descriptor import Descriptor, opened
from passthru.vfio.linux_vfio import DESCRIPTOR

if TYPE_CHECKING:
    from passthru.vfio.transcript import Transcript


class Group:
    """An open group, one method an ioctl. All raise OSError."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str, transcript: Transcript | None = None) -> Group:
        """Open it, which nobody else may have done: EBUSY."""
        return cls(opened(path, transcript))

    def fileno(self) -> int:
        """Its descriptor."""
        return self.descriptor.fileno()

    def status(self) -> int:
        """VFIO_GROUP_GET_STATUS: VFIO_GROUP_FLAGS_*."""
        asked = vfio.GROUP_STATUS.pack(vfio.GROUP_STATUS.size, 0)
        answer = self.descriptor.structure("VFIO_GROUP_GET_STATUS", vfio.VFIO_GROUP_GET_STATUS, asked)
        return fields("vfio_group_status", vfio.GROUP_STATUS, answer)[1]

    def set_container(self, container: int) -> None:
        """VFIO_GROUP_SET_CONTAINER; ``container`` is a descriptor."""
        argument = bytearray(DESCRIPTOR.pack(container))
        self.descriptor.pointed("VFIO_GROUP_SET_CONTAINER", vfio.VFIO_GROUP_SET_CONTAINER, argument, container)

    def unset_container(self) -> None:
        """VFIO_GROUP_UNSET_CONTAINER; nobody may have a device of the group open."""
        self.descriptor.plain("VFIO_GROUP_UNSET_CONTAINER", vfio.VFIO_GROUP_UNSET_CONTAINER)

    def device(self, name: str) -> Descriptor:
        """VFIO_GROUP_GET_DEVICE_FD of the device with this name in sysfs; its calls go to the group's transcript."""
        argument = bytearray(name.encode() + b"\0")
        number = self.descriptor.pointed("VFIO_GROUP_GET_DEVICE_FD", vfio.VFIO_GROUP_GET_DEVICE_FD, argument, name)
        return Descriptor(number, self.descriptor.transcript, self.descriptor.ioctl)

    def close(self) -> None:
        """Close it."""
        self.descriptor.close()
