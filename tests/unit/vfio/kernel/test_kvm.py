# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's VFIO device, to the byte."""

from __future__ import annotations

import errno
import os

import pytest

from passthru.vfio import linux_kvm as kvm
from passthru.vfio.kernel.kvm import KvmVfio, VirtualMachine
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl, read_memory, refusal


def test_a_vm_makes_its_vfio_device() -> None:
    made = os.memfd_create("vfio device")

    def create(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        assert argument == kvm.CREATE_DEVICE.pack(kvm.KVM_DEV_TYPE_VFIO, 0, 0), "nothing but the structure is given"
        kvm.CREATE_DEVICE.pack_into(argument, 0, kvm.KVM_DEV_TYPE_VFIO, made, 0)

    vm = VirtualMachine(FakeIoctl({kvm.KVM_CREATE_DEVICE: create}).descriptor())
    device = vm.vfio_device()
    assert device.descriptor.fileno() == made
    device.close()
    vm.close()


def test_files_are_added_and_taken_away_by_their_descriptor() -> None:
    calls = []

    def set_attribute(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        flags, group, attribute, address = kvm.DEVICE_ATTR.unpack(argument)
        calls.append((flags, group, attribute, int.from_bytes(read_memory(address, 4), "little")))
        if calls[-1] in calls[:-1]:
            raise refusal(errno.EEXIST)

    device = KvmVfio(FakeIoctl({kvm.KVM_SET_DEVICE_ATTR: set_attribute}).descriptor())
    device.add(41)
    device.delete(42)
    with pytest.raises(OSError, match="exists"):
        device.add(41)
    assert calls == [(0, 1, 1, 41), (0, 1, 2, 42), (0, 1, 1, 41)]
    device.close()


def test_whether_it_has_an_attribute() -> None:
    def has(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        attribute = kvm.DEVICE_ATTR.unpack(argument)[2]
        if attribute != kvm.KVM_DEV_VFIO_FILE_ADD:
            raise refusal(errno.ENXIO if attribute == kvm.KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE else errno.EPERM)

    device = KvmVfio(FakeIoctl({kvm.KVM_HAS_DEVICE_ATTR: has}).descriptor())
    assert device.has(kvm.KVM_DEV_VFIO_FILE_ADD)
    assert not device.has(kvm.KVM_DEV_VFIO_GROUP_SET_SPAPR_TCE)
    with pytest.raises(OSError, match="permitted"):
        device.has(99)
    device.close()
