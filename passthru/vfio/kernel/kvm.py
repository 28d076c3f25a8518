# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's VFIO device, the external user of groups and devices: Documentation/virt/kvm/devices/vfio.rst.

A VM without CPUs or memory is enough for it.
"""

from __future__ import annotations

import errno

from passthru.vfio import linux_kvm as kvm
from passthru.vfio.kernel.descriptor import Descriptor, opened
from passthru.vfio.kernel.memory import address_of
from passthru.vfio.linux_vfio import DESCRIPTOR

KVM = "/dev/kvm"


class VirtualMachine:
    """A VM of KVM's. All raise OSError."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    @classmethod
    def create(cls, path: str = KVM) -> VirtualMachine:
        """KVM_CREATE_VM."""
        system = opened(path)
        try:
            number = system.plain("KVM_CREATE_VM", kvm.KVM_CREATE_VM)
            return cls(Descriptor(number, system.transcript, system.ioctl))
        finally:
            system.close()

    def vfio_device(self) -> KvmVfio:
        """KVM_CREATE_DEVICE of KVM_DEV_TYPE_VFIO; EBUSY for a second one."""
        # This structure begins with a type where others have their size, so that it is given as it is.
        asked = bytearray(kvm.CREATE_DEVICE.pack(kvm.KVM_DEV_TYPE_VFIO, 0, 0))
        self.descriptor.pointed("KVM_CREATE_DEVICE", kvm.KVM_CREATE_DEVICE, asked)
        number: int = kvm.CREATE_DEVICE.unpack(asked)[1]
        return KvmVfio(Descriptor(number, self.descriptor.transcript, self.descriptor.ioctl))

    def close(self) -> None:
        """Close it; it lives on while its VFIO device is open."""
        self.descriptor.close()


class KvmVfio:
    """The VFIO device of a VM. All raise OSError."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    def add(self, file: int) -> None:
        """KVM_DEV_VFIO_FILE_ADD (GROUP_ADD before Linux 6.6): hold the file behind this descriptor."""
        self._set(kvm.KVM_DEV_VFIO_FILE_ADD, file)

    def delete(self, file: int) -> None:
        """KVM_DEV_VFIO_FILE_DEL: let go of it; ENOENT where it is not held."""
        self._set(kvm.KVM_DEV_VFIO_FILE_DEL, file)

    def has(self, attribute: int, group: int = kvm.KVM_DEV_VFIO_FILE) -> bool:
        """KVM_HAS_DEVICE_ATTR."""
        asked = bytearray(kvm.DEVICE_ATTR.pack(0, group, attribute, 0))
        try:
            self.descriptor.pointed("KVM_HAS_DEVICE_ATTR", kvm.KVM_HAS_DEVICE_ATTR, asked)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    def set(self, group: int, attribute: int, value: bytes) -> None:
        """KVM_SET_DEVICE_ATTR with whatever value."""
        held = bytearray(value)
        with address_of(held) as address:
            asked = bytearray(kvm.DEVICE_ATTR.pack(0, group, attribute, address))
            self.descriptor.pointed("KVM_SET_DEVICE_ATTR", kvm.KVM_SET_DEVICE_ATTR, asked)

    def close(self) -> None:
        """Close it. What it holds ends with it on newer kernels, with the VM on older ones."""
        self.descriptor.close()

    def _set(self, attribute: int, file: int) -> None:
        self.set(kvm.KVM_DEV_VFIO_FILE, attribute, DESCRIPTOR.pack(file))
