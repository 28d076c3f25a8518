# SPDX-License-Identifier: GPL-2.0-or-later
"""The little of ``<linux/kvm.h>`` that VFIO's external user needs: a VM and its VFIO device, under their own names."""

from __future__ import annotations

from struct import Struct

from passthru.vfio.linux_ioctl import io, iow, iowr

KVMIO = 0xAE
KVM_API_VERSION = 12

KVM_GET_API_VERSION = io(KVMIO, 0x00)
KVM_CREATE_VM = io(KVMIO, 0x01)
KVM_CHECK_EXTENSION = io(KVMIO, 0x03)

# struct kvm_create_device: type, fd (out), flags
CREATE_DEVICE = Struct("<III")
KVM_CREATE_DEVICE = iowr(KVMIO, 0xE0, CREATE_DEVICE.size)
KVM_CREATE_DEVICE_TEST = 1
KVM_DEV_TYPE_VFIO = 4

# struct kvm_device_attr: flags, group, attr, addr
DEVICE_ATTR = Struct("<IIQQ")
KVM_SET_DEVICE_ATTR = iow(KVMIO, 0xE1, DEVICE_ATTR.size)
KVM_GET_DEVICE_ATTR = iow(KVMIO, 0xE2, DEVICE_ATTR.size)
KVM_HAS_DEVICE_ATTR = iow(KVMIO, 0xE3, DEVICE_ATTR.size)

KVM_DEV_VFIO_FILE = 1
KVM_DEV_VFIO_FILE_ADD = 1
KVM_DEV_VFIO_FILE_DEL = 2
# what kernels before 6.6 call the same numbers
KVM_DEV_VFIO_GROUP = KVM_DEV_VFIO_FILE
KVM_DEV_VFIO_GROUP_ADD = KVM_DEV_VFIO_FILE_ADD
KVM_DEV_VFIO_GROUP_DEL = KVM_DEV_VFIO_FILE_DEL
KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE = 3
