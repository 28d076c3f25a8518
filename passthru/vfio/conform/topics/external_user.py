# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO's external user, KVM: what it holds of a group or a device, and that it lets go of it.

The letter of the external user (2013) had KVM take part in the use of a container: ADD demanded a group with an IOMMU,
and a counter kept the container from being unset. Since Linux 6.0 KVM holds the file it was given and nothing else: any
group of VFIO's will do, and what is kept is what a file keeps. Since 6.6 it takes devices' files too; what is called
KVM_DEV_VFIO_FILE_ADD was KVM_DEV_VFIO_GROUP_ADD before.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.registry import test
from passthru.vfio.kernel.kvm import VirtualMachine
from passthru.vfio.linux_kvm import KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL
from passthru.vfio.linux_vfio import DESCRIPTOR

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.kernel.container import Container
    from passthru.vfio.kernel.descriptor import Descriptor
    from passthru.vfio.kernel.group import Group
    from passthru.vfio.kernel.kvm import KvmVfio

_DOCUMENT = "Documentation/virt/kvm/devices/vfio.rst"
_ADD = f"KVM_DEV_VFIO_FILE_ADD; {_DOCUMENT}"
_TAKES_DEVICES = (6, 6)
_LETS_GO_WITH_ITS_FILE = (6, 6)


class _Vm:
    """A VM with its VFIO device."""

    def __init__(self, case: Case) -> None:
        try:
            self._machine = VirtualMachine.create()
        except OSError as error:
            case.missing(f"KVM makes no VM: {error.strerror}")
        case.transcripts.append(self._machine.descriptor.transcript)
        case.keep(self._machine.close)
        self.vfio: KvmVfio = self._machine.vfio_device()
        case.keep(self.vfio.close)

    def second_device(self) -> None:
        """Make another VFIO device."""
        self._machine.vfio_device().close()

    def close(self) -> None:
        """End the VM, and with it all that it holds."""
        self.vfio.close()
        self._machine.close()


def _opened(case: Case) -> tuple[Container, Group, Descriptor]:
    """The device by its group, in a container with its IOMMU."""
    container, group = ways.new_container(case), ways.new_group(case)
    group.set_container(container.fileno())
    container.set_iommu(ways.kind_of(case))
    return container, group, ways.new_device(case, group)


@test("kernel", "kvm", cites=f"KVM_CREATE_DEVICE, KVM_HAS_DEVICE_ATTR; {_DOCUMENT}")
def kvm_has_a_vfio_device(case: Case) -> None:
    """A VM has one VFIO device (a second is EBUSY), which can add and delete files, and nothing unknown: ENXIO."""
    machine = _Vm(case)
    for attribute in (KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL):
        case.expect(machine.vfio.has(attribute), f"KVM's VFIO device has no attribute {attribute}")
    case.expect(not machine.vfio.has(99), "KVM's VFIO device has an attribute 99")
    case.expect(not machine.vfio.has(KVM_DEV_VFIO_FILE_ADD, group=99), "KVM's VFIO device has a group 99")
    with case.refused(errno.ENXIO, what="setting an unknown attribute of KVM's VFIO device"):
        machine.vfio.set(KVM_DEV_VFIO_FILE, 99, DESCRIPTOR.pack(0))
    with case.refused(errno.EBUSY, what="a second VFIO device of a VM"):
        machine.second_device()


@test("container", "kvm", cites=_ADD, fresh=True)
def kvm_holds_a_group_once(case: Case) -> None:
    """A group is added once (EEXIST) and deleted once (ENOENT), and can be added again."""
    _, group, _ = _opened(case)
    machine = _Vm(case)
    for _ in range(2):
        machine.vfio.add(group.fileno())
        with case.refused(errno.EEXIST, what="adding a group a second time"):
            machine.vfio.add(group.fileno())
        machine.vfio.delete(group.fileno())
        with case.refused(errno.ENOENT, what="deleting a group that KVM does not hold"):
            machine.vfio.delete(group.fileno())


@test("container", "kvm", cites=_ADD, fresh=True)
def kvm_takes_files_of_vfio_alone(case: Case) -> None:
    """What is no file is EBADF, and one of something else, the container among them, is EINVAL."""
    container, _, _ = _opened(case)
    machine = _Vm(case)
    with case.refused(errno.EBADF, what="adding -1"):
        machine.vfio.add(-1)
    with case.refused(errno.EBADF, what="deleting -1"):
        machine.vfio.delete(-1)
    for what, file in (("a memfd", ways.not_of_vfio(case)), ("a container", container.fileno())):
        with case.refused(errno.EINVAL, what=f"adding {what}"):
            machine.vfio.add(file)
        with case.refused(errno.ENOENT, what=f"deleting {what}"):
            machine.vfio.delete(file)


@test("container", "kvm", cites=f"{_ADD}; the letter: the group is initialized, the IOMMU is set for it", fresh=True)
def kvm_takes_a_group_without_a_container(case: Case) -> None:
    """A group is added before it is in a container, and before that has its IOMMU.

    The letter demanded both, and vfio_group_get_external_user() refused with EINVAL. The document of today wants the
    group added before the device is opened, so that drivers find the VM.
    """
    container, group, machine = ways.new_container(case), ways.new_group(case), _Vm(case)
    machine.vfio.add(group.fileno())
    machine.vfio.delete(group.fileno())
    group.set_container(container.fileno())
    machine.vfio.add(group.fileno())
    container.set_iommu(ways.kind_of(case))
    ways.new_device(case, group)
    machine.vfio.delete(group.fileno())


@test("container", "kvm", cites=f"{_ADD}; since Linux 6.6 files of devices as well, EINVAL before", fresh=True)
def kvm_takes_a_device_since_it_can(case: Case) -> None:
    """The file of a device, had by its group, is refused with EINVAL before Linux 6.6, and taken since."""
    _, _, device = _opened(case)
    machine = _Vm(case)
    if case.facts.version < _TAKES_DEVICES:
        with case.refused(errno.EINVAL, what="adding the file of a device"):
            machine.vfio.add(device.fileno())
        return
    machine.vfio.add(device.fileno())
    with case.refused(errno.EEXIST, what="adding a device a second time"):
        machine.vfio.add(device.fileno())
    machine.vfio.delete(device.fileno())


@test("container", "kvm", cites=f"{_DOCUMENT}: a reference to the VFIO file is held by KVM", fresh=True)
def kvm_keeps_a_group_from_others(case: Case) -> None:
    """A group that KVM holds is opened by nobody else, though all was closed; once KVM is gone, it is free."""
    container, group, device = _opened(case)
    machine = _Vm(case)
    machine.vfio.add(group.fileno())
    for each in (device, group, container):
        each.close()
    path = ways.target_of(case).group
    with case.refused(errno.EBUSY, what=f"opening {path} while KVM holds it"):
        ways.new_group(case)
    machine.close()
    _opened(case)


@test("container", "kvm", cites=f"{_DOCUMENT}: a reference to the VFIO file is held by KVM", fresh=True)
def kvm_lets_go_of_a_group(case: Case) -> None:
    """A deleted group is free as soon as all is closed, though the VM is there; and so it is with a closed VFIO device.

    (Some kernels before 6.6 kept what the closed VFIO device held until the end of its VM.)
    """
    container, group, device = _opened(case)
    machine = _Vm(case)
    machine.vfio.add(group.fileno())
    machine.vfio.delete(group.fileno())
    for each in (device, group, container):
        each.close()
    container, group, device = _opened(case)
    machine.vfio.add(group.fileno())
    for each in (device, group, container):
        each.close()
    machine.vfio.close()
    if case.facts.version < _LETS_GO_WITH_ITS_FILE:
        machine.close()
    _opened(case)


@test("container", "kvm", cites=f"{_ADD}; the letter: increments the container user counter", fresh=True)
def kvm_does_not_use_the_container(case: Case) -> None:
    """A group that KVM holds still leaves its container when no device is open.

    By the letter KVM counted as a user of the container, so that this was EBUSY; now it holds the file alone.
    """
    _, group, device = _opened(case)
    machine = _Vm(case)
    machine.vfio.add(group.fileno())
    with case.refused(errno.EBUSY, what="VFIO_GROUP_UNSET_CONTAINER while a device is open"):
        group.unset_container()
    device.close()
    group.unset_container()
    machine.vfio.delete(group.fileno())


@test("iommufd", "kvm", cites=_ADD, fresh=True)
def kvm_holds_a_device_once(case: Case) -> None:
    """A device's file is added before it is bound, or after, once (EEXIST), and deleted once (ENOENT)."""
    file, machine = ways.new_file(case), _Vm(case)
    machine.vfio.add(file.descriptor.fileno())
    file.bind(ways.new_iommufd(case).fileno())
    with case.refused(errno.EEXIST, what="adding a device a second time"):
        machine.vfio.add(file.descriptor.fileno())
    machine.vfio.delete(file.descriptor.fileno())
    with case.refused(errno.ENOENT, what="deleting a device that KVM does not hold"):
        machine.vfio.delete(file.descriptor.fileno())
    machine.vfio.add(file.descriptor.fileno())


@test("iommufd", "kvm", cites=_ADD, fresh=True)
def kvm_takes_no_iommufd(case: Case) -> None:
    """An iommufd is no file of VFIO's: EINVAL."""
    machine = _Vm(case)
    with case.refused(errno.EINVAL, what="adding an iommufd"):
        machine.vfio.add(ways.new_iommufd(case).fileno())


@test("iommufd", "kvm", cites=f"{_DOCUMENT}: a reference to the VFIO file is held by KVM", fresh=True)
def kvm_keeps_a_device_bound(case: Case) -> None:
    """A device that KVM holds stays bound, though its file was closed, and another file of it does not free it."""
    opened, file, machine = ways.new_iommufd(case), ways.new_file(case), _Vm(case)
    file.bind(opened.fileno())
    machine.vfio.add(file.descriptor.fileno())
    file.close()
    another = ways.new_file(case)
    with case.refused(errno.EINVAL, what="binding a device that KVM holds bound"):
        another.bind(opened.fileno())
    with case.refused(errno.ENOENT, what="deleting a device by another file of it"):
        machine.vfio.delete(another.descriptor.fileno())
    machine.close()
    another.bind(opened.fileno())
