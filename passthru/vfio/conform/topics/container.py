# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers and groups: in which order they come together, and who may have them.

The rules are those of the VFIO core since 2012: a group is put into one container, SET_IOMMU is of use only then, and
only then is there a device. Kernels 6.1 to 7.3 differ in little; a test says where.
"""

from __future__ import annotations

import errno
import fcntl
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.registry import test
from passthru.vfio.linux_vfio import VFIO_BASE, VFIO_TYPE
from passthru.vfio.linux_vfio_iommu import VFIO_IOMMU_GET_INFO

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.kernel.container import Container
    from passthru.vfio.kernel.group import Group

_DOCUMENT = "Documentation/driver-api/vfio.rst"
_NO_EXTENSION = 0xFFFF
_NO_CALL = VFIO_TYPE << 8 | VFIO_BASE + 99
_VIABLE, _SET = vfio.VFIO_GROUP_FLAGS_VIABLE, vfio.VFIO_GROUP_FLAGS_CONTAINER_SET


def _together(case: Case) -> tuple[Container, Group]:
    """The group in a container, without an IOMMU yet."""
    container, group = ways.new_container(case), ways.new_group(case)
    group.set_container(container.fileno())
    return container, group


@test("container", cites=f"VFIO_GET_API_VERSION; {_DOCUMENT}")
def the_api_version_is_0(case: Case) -> None:
    """The version of the interface is 0, whatever state the container is in."""
    version = ways.new_container(case).api_version()
    case.expect(version == vfio.VFIO_API_VERSION, f"VFIO_GET_API_VERSION is {version} and not {vfio.VFIO_API_VERSION}")


@test("container", cites=f"VFIO_CHECK_EXTENSION; {_DOCUMENT}")
def extensions_are_told(case: Case) -> None:
    """The kind of IOMMU that the target has is there, and an extension that nobody has is not."""
    container, kind = ways.new_container(case), ways.kind_of(case)
    case.expect(container.check_extension(kind) > 0, f"VFIO_CHECK_EXTENSION does not know the IOMMU {kind}")
    case.expect(not container.check_extension(_NO_EXTENSION), f"there is an extension {_NO_EXTENSION:#x}")


@test("type1", cites="VFIO_CHECK_EXTENSION: VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL in <linux/vfio.h>")
def extensions_of_type1_are_told(case: Case) -> None:
    """Both versions of type1 are offered; since Linux 5.12 all can be unmapped at once, and nesting went with 6.13."""
    container, version = ways.new_container(case), case.facts.version
    for name in ("VFIO_TYPE1_IOMMU", "VFIO_TYPE1v2_IOMMU", "VFIO_UNMAP_ALL"):
        case.expect(container.check_extension(getattr(vfio, name)) > 0, f"VFIO_CHECK_EXTENSION does not know {name}")
    nests = container.check_extension(vfio.VFIO_TYPE1_NESTING_IOMMU) > 0
    if version != (6, 13):  # in which it went
        case.expect(nests == (version < (6, 13)), f"that VFIO_TYPE1_NESTING_IOMMU is there is {nests}")


@test("container", cites=f"VFIO_SET_IOMMU; {_DOCUMENT}: only by a group does a container get the privilege")
def set_iommu_needs_a_group(case: Case) -> None:
    """SET_IOMMU of a container without a group is refused with EINVAL."""
    container = ways.new_container(case)
    with case.refused(errno.EINVAL, what="VFIO_SET_IOMMU of an empty container"):
        container.set_iommu(ways.kind_of(case))


@test("container", cites="VFIO_SET_IOMMU", fresh=True)
def set_iommu_takes_what_is_offered_and_once(case: Case) -> None:
    """An IOMMU that the kernel does not offer is refused with ENODEV, a second SET_IOMMU with EINVAL."""
    container, _ = _together(case)
    with case.refused(errno.ENODEV, what=f"VFIO_SET_IOMMU to {_NO_EXTENSION:#x}"):
        container.set_iommu(_NO_EXTENSION)
    container.set_iommu(ways.kind_of(case))
    with case.refused(errno.EINVAL, what="a second VFIO_SET_IOMMU"):
        container.set_iommu(ways.kind_of(case))


@test("container", cites=f"VFIO_GROUP_GET_STATUS: VFIO_GROUP_FLAGS_VIABLE, _CONTAINER_SET; {_DOCUMENT}", fresh=True)
def group_status_tells_of_its_container(case: Case) -> None:
    """A group whose devices are all VFIO's is viable, and tells whether it is in a container."""
    container, group = ways.new_container(case), ways.new_group(case)
    _status(case, group, _VIABLE, "before it is in a container")
    group.set_container(container.fileno())
    _status(case, group, _VIABLE | _SET, "in a container")
    group.unset_container()
    _status(case, group, _VIABLE, "taken out of its container")


def _status(case: Case, group: Group, wanted: int, when: str) -> None:
    found = group.status()
    case.expect(found == wanted, f"VFIO_GROUP_GET_STATUS is {found:#x} and not {wanted:#x} of a group {when}")


@test("container", cites="VFIO_GROUP_GET_STATUS: argsz", fresh=True)
def group_status_needs_room(case: Case) -> None:
    """VFIO_GROUP_GET_STATUS with an argsz that is too short is refused with EINVAL."""
    group = ways.new_group(case)
    for argsz in (0, 7):
        with case.refused(errno.EINVAL, what=f"VFIO_GROUP_GET_STATUS with argsz {argsz}"):
            asked = vfio.GROUP_STATUS.pack(argsz, 0)
            group.descriptor.structure("VFIO_GROUP_GET_STATUS", vfio.VFIO_GROUP_GET_STATUS, asked)


@test("container", cites="VFIO_GROUP_SET_CONTAINER", fresh=True)
def a_group_is_in_one_container(case: Case) -> None:
    """A group that is in a container is put into no other, nor into the same again: EINVAL, and it stays."""
    container, group = _together(case)
    for other, which in ((container, "the same"), (ways.new_container(case), "another")):
        with case.refused(errno.EINVAL, what=f"VFIO_GROUP_SET_CONTAINER to {which} container"):
            group.set_container(other.fileno())
    _status(case, group, _VIABLE | _SET, "that was to change its container")
    container.set_iommu(ways.kind_of(case))
    ways.new_device(case, group)


@test("container", cites="VFIO_GROUP_SET_CONTAINER", fresh=True)
def a_group_is_put_into_containers_alone(case: Case) -> None:
    """A descriptor that is none is refused with EBADF, one of something else with EBADFD (EINVAL before Linux 6.2)."""
    group = ways.new_group(case)
    with case.refused(errno.EBADF, what="VFIO_GROUP_SET_CONTAINER to -1"):
        group.set_container(-1)
    code = errno.EINVAL if case.facts.version < (6, 2) else errno.EBADFD
    with case.refused(code, what="VFIO_GROUP_SET_CONTAINER to a memfd"):
        group.set_container(ways.not_of_vfio(case))
    _status(case, group, _VIABLE, "that was put into nothing")


@test("container", cites=f"VFIO_GROUP_GET_DEVICE_FD; {_DOCUMENT}", fresh=True)
def a_device_is_had_only_after_set_iommu(case: Case) -> None:
    """A device is refused with EINVAL before its group is in a container, and before that has its IOMMU."""
    group = ways.new_group(case)
    name = ways.target_of(case).name
    with case.refused(errno.EINVAL, what="VFIO_GROUP_GET_DEVICE_FD of a group that is in no container"):
        group.device(name)
    container = ways.new_container(case)
    group.set_container(container.fileno())
    with case.refused(errno.EINVAL, what="VFIO_GROUP_GET_DEVICE_FD before VFIO_SET_IOMMU"):
        group.device(name)
    container.set_iommu(ways.kind_of(case))
    device = ways.new_device(case, group)
    closes = fcntl.fcntl(device.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    case.expect(closes, "the device's descriptor is inherited by what the process executes")


@test("container", cites="VFIO_GROUP_GET_DEVICE_FD", fresh=True)
def a_device_of_another_name_is_not_there(case: Case) -> None:
    """A name that is no device of the group's is refused with ENODEV."""
    container, group = _together(case)
    container.set_iommu(ways.kind_of(case))
    name = ways.target_of(case).name
    for wrong in ("", name[:-1], name + "0", "nothing"):
        with case.refused(errno.ENODEV, what=f"VFIO_GROUP_GET_DEVICE_FD of {wrong!r}"):
            group.device(wrong)


@test(
    "container",
    cites='open(2) of a group: EBUSY; "vfio: Limit group opens", of which the external user\'s letter tells',
)
def a_group_is_opened_once(case: Case) -> None:
    """A group that somebody has open is opened by nobody else: EBUSY."""
    _ = case.device
    with case.refused(errno.EBUSY, what=f"opening {ways.target_of(case).group} a second time"):
        ways.new_group(case)


@test("container", cites="VFIO_GROUP_UNSET_CONTAINER", fresh=True)
def a_group_leaves_its_container_only_unused(case: Case) -> None:
    """Leaving is refused with EINVAL outside of a container, with EBUSY while a device is open; then it is possible."""
    group = ways.new_group(case)
    with case.refused(errno.EINVAL, what="VFIO_GROUP_UNSET_CONTAINER of a group that is in none"):
        group.unset_container()
    container = ways.new_container(case)
    group.set_container(container.fileno())
    container.set_iommu(ways.kind_of(case))
    device = ways.new_device(case, group)
    with case.refused(errno.EBUSY, what="VFIO_GROUP_UNSET_CONTAINER while a device is open"):
        group.unset_container()
    device.close()
    group.unset_container()
    _status(case, group, _VIABLE, "taken out of its container")


@test(
    "container",
    cites=f"VFIO_GROUP_UNSET_CONTAINER; {_DOCUMENT}: the last group takes the privilege with it",
    fresh=True,
)
def a_container_without_groups_has_no_iommu(case: Case) -> None:
    """Once its last group has left, a container has no IOMMU any more, and can get one by the next group."""
    container, group = _together(case)
    container.set_iommu(ways.kind_of(case))
    group.unset_container()
    with case.refused(errno.EINVAL, what="VFIO_SET_IOMMU after the last group left"):
        container.set_iommu(ways.kind_of(case))
    with case.refused(errno.EINVAL, what="VFIO_IOMMU_GET_INFO after the last group left"):
        container.descriptor.structure("VFIO_IOMMU_GET_INFO", VFIO_IOMMU_GET_INFO, bytes([16]).ljust(16, b"\0"))
    group.set_container(container.fileno())
    container.set_iommu(ways.kind_of(case))
    ways.new_device(case, group)


@test("container", cites=f"{_DOCUMENT}; a device holds its group, and that its container", fresh=True)
def a_device_holds_its_group_and_container(case: Case) -> None:
    """A device works on when its container and group were closed, and until then nobody gets the group."""
    container, group = _together(case)
    container.set_iommu(ways.kind_of(case))
    device = ways.new_device(case, group)
    container.close()
    group.close()
    path = ways.target_of(case).group
    with case.refused(errno.EBUSY, what=f"opening {path} while its device is open"):
        ways.new_group(case)
    device.close()
    ways.new_group(case)


@test("container", cites="ioctl(2) of a container and of a group", fresh=True)
def unknown_calls_are_refused(case: Case) -> None:
    """A call that nobody knows is refused: with EINVAL by a container without an IOMMU, else with ENOTTY."""
    container, group = _together(case)
    with case.refused(errno.EINVAL, what="an unknown call of a container without an IOMMU"):
        container.descriptor.plain("an unknown call", _NO_CALL)
    with case.refused(errno.ENOTTY, what="an unknown call of a group"):
        group.descriptor.plain("an unknown call", _NO_CALL)
    container.set_iommu(ways.kind_of(case))
    with case.refused(errno.ENOTTY, what="an unknown call of a container with an IOMMU"):
        container.descriptor.plain("an unknown call", _NO_CALL)
