# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's own file, bound to an iommufd and attached to an address space: in which order, and who may.

Since Linux 6.6. What is mapped there is judged by the tests of DMA.
"""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from passthru.vfio import linux_iommufd as iommufd
from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.conform import kernel_ways as ways
from passthru.vfio.conform.registry import test
from passthru.vfio.kernel.group import Group
from passthru.vfio.kernel.iommufd import EVERYTHING
from passthru.vfio.kernel.memory import address_of
from passthru.vfio.linux_vfio import DEVICE_INFO, IRQ_INFO, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_IRQ_INFO

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.kernel.cdev import DeviceFile
    from passthru.vfio.kernel.iommufd import Iommufd

_CDEV = 'Documentation/driver-api/vfio.rst, "VFIO Device cdev"'
_OBJECTS = "Documentation/userspace-api/iommufd.rst"
_NO_OBJECT = 0x7FFFFFFF
_PAGE = mmap.PAGESIZE
_READ_WRITE = iommufd.IOMMU_IOAS_MAP_READABLE | iommufd.IOMMU_IOAS_MAP_WRITEABLE
_IOVA = 16 << 20
_NO_CALL = iommufd.IOMMUFD_TYPE << 8 | 0xFF


def _bound(case: Case) -> tuple[Iommufd, DeviceFile, int]:
    """The device bound to an iommufd, not attached; and its id."""
    opened, file = ways.new_iommufd(case), ways.new_file(case)
    return opened, file, file.bind(opened.fileno())


@test("iommufd", cites=f"VFIO_DEVICE_BIND_IOMMUFD; {_CDEV}", fresh=True)
def a_device_that_is_not_bound_answers_nothing(case: Case) -> None:
    """Until it is bound, every call but BIND_IOMMUFD is refused with EINVAL; then the device answers."""
    file = ways.new_file(case)
    info = DEVICE_INFO.pack(DEVICE_INFO.size, 0, 0, 0)
    irq = IRQ_INFO.pack(IRQ_INFO.size, 0, 0, 0)
    for call, number, asked in (
        ("VFIO_DEVICE_GET_INFO", VFIO_DEVICE_GET_INFO, info),
        ("VFIO_DEVICE_GET_IRQ_INFO", VFIO_DEVICE_GET_IRQ_INFO, irq),
    ):
        with case.refused(errno.EINVAL, what=f"{call} of a device that is not bound"):
            file.descriptor.structure(call, number, asked)
    with case.refused(errno.EINVAL, what="VFIO_DEVICE_ATTACH_IOMMUFD_PT of a device that is not bound"):
        file.attach(1)
    with case.refused(errno.EINVAL, what="VFIO_DEVICE_DETACH_IOMMUFD_PT of a device that is not bound"):
        file.detach()
    file.bind(ways.new_iommufd(case).fileno())
    file.descriptor.structure("VFIO_DEVICE_GET_INFO", VFIO_DEVICE_GET_INFO, info)


@test("iommufd", cites=f"VFIO_DEVICE_BIND_IOMMUFD: argsz, flags, iommufd; {_CDEV}", fresh=True)
def a_device_is_bound_to_an_iommufd_alone(case: Case) -> None:
    """What is no iommufd, unknown flags and too short an argsz are refused, and the device can still be bound."""
    file, opened = ways.new_file(case), ways.new_iommufd(case)
    layout = vfio.BIND_IOMMUFD
    unrelated = ways.not_of_vfio(case)
    wrong = (
        (errno.EINVAL, layout.size - 1, 0, opened.fileno(), "a short argsz"),
        (errno.EINVAL, layout.size, 1 << 31, opened.fileno(), "an unknown flag"),
        (errno.EINVAL, layout.size, 0, -1, "the descriptor -1"),
        (errno.EBADF, layout.size, 0, 0x7FFF, "a descriptor that is not open"),
        (errno.EBADFD, layout.size, 0, unrelated, "a memfd"),
    )
    for code, argsz, flags, descriptor, what in wrong:
        with case.refused(code, what=f"VFIO_DEVICE_BIND_IOMMUFD with {what}"):
            file.bind_raw(layout.pack(argsz, flags, descriptor, 0))
    identity = file.bind(opened.fileno())
    case.expect(identity, "the id of a bound device is 0, which is no object")


@test("iommufd", cites=f"VFIO_DEVICE_BIND_IOMMUFD; {_CDEV}", fresh=True)
def a_device_is_bound_once(case: Case) -> None:
    """A bound device is bound a second time neither by its file nor by another one, to no iommufd: EINVAL."""
    opened, file, _ = _bound(case)
    other, another_file = ways.new_iommufd(case), ways.new_file(case)
    for which, each in (("the same file", file), ("another file", another_file)):
        for where, target in (("the same iommufd", opened), ("another iommufd", other)):
            with case.refused(errno.EINVAL, what=f"binding a bound device by {which} to {where}"):
                each.bind(target.fileno())
    file.close()
    another_file.bind(other.fileno())


@test("iommufd", cites=f"open(2) of the group and VFIO_DEVICE_BIND_IOMMUFD: EBUSY; {_CDEV}", fresh=True)
def a_device_is_reached_one_way_at_a_time(case: Case) -> None:
    """While the device is bound its group is not opened, and while the group is open it is not bound: EBUSY."""
    path = ways.target_of(case).group
    if not path:
        case.missing("the kernel has no groups")
    _, file, _ = _bound(case)
    with case.refused(errno.EBUSY, what=f"opening {path} while its device is bound"):
        Group.open(path)
    file.close()
    group = ways.new_group(case)
    another, opened = ways.new_file(case), ways.new_iommufd(case)
    with case.refused(errno.EBUSY, what="binding a device whose group is open"):
        another.bind(opened.fileno())
    group.close()
    another.bind(opened.fileno())


@test("iommufd", cites=f"VFIO_DEVICE_ATTACH_IOMMUFD_PT; {_CDEV}", fresh=True)
def a_device_is_attached_to_an_address_space(case: Case) -> None:
    """What is no object, or no address space, is refused, and so are a short argsz and unknown flags."""
    opened, file, identity = _bound(case)
    ioas = opened.ioas_alloc()
    layout = vfio.ATTACH_IOMMUFD_PT
    with case.refused(errno.ENOENT, what="attaching to an object that is not there"):
        file.attach(_NO_OBJECT)
    with case.refused(errno.EINVAL, errno.ENOENT, what="attaching to a device"):
        file.attach(identity)
    with case.refused(errno.EINVAL, what="VFIO_DEVICE_ATTACH_IOMMUFD_PT with a short argsz"):
        file.attach_raw(layout.pack(layout.size - 1, 0, ioas))
    with case.refused(errno.EINVAL, what="VFIO_DEVICE_ATTACH_IOMMUFD_PT with an unknown flag"):
        file.attach_raw(layout.pack(layout.size, 1 << 31, ioas))
    table = file.attach(ioas)
    case.expect(table, "the id of the page table is 0, which is no object")
    with case.refused(errno.EINVAL, what="VFIO_DEVICE_DETACH_IOMMUFD_PT with a short argsz"):
        file.detach_raw(vfio.DETACH_IOMMUFD_PT.pack(vfio.DETACH_IOMMUFD_PT.size - 1, 0))
    file.detach()
    file.detach()  # nothing is attached any more, and nothing is to be said
    file.attach(ioas)


@test("iommufd", cites=f"VFIO_DEVICE_ATTACH_IOMMUFD_PT; IOMMU_DESTROY: EBUSY; {_OBJECTS}", fresh=True)
def an_address_space_that_is_used_stays(case: Case) -> None:
    """An address space with a device is not destroyed: EBUSY. Attached elsewhere, the device lets go of the first."""
    opened, file, identity = _bound(case)
    first, second = opened.ioas_alloc(), opened.ioas_alloc()
    file.attach(first)
    with case.refused(errno.EBUSY, what="IOMMU_DESTROY of an address space with a device"):
        opened.destroy(first)
    file.attach(second)
    opened.destroy(first)
    with case.refused(errno.ENOENT, what="IOMMU_DESTROY of what was destroyed"):
        opened.destroy(first)
    with case.refused(errno.EBUSY, what="IOMMU_DESTROY of a bound device"):
        opened.destroy(identity)
    file.detach()
    opened.destroy(second)


@test("iommufd", cites=f"close(2) of a device's file; {_CDEV}", fresh=True)
def closing_a_device_unbinds_it(case: Case) -> None:
    """A closed device lets go of its address space; an iommufd that was closed first stays until then."""
    opened, file, _ = _bound(case)
    ioas = opened.ioas_alloc()
    file.attach(ioas)
    file.close()
    opened.destroy(ioas)
    opened, file, _ = _bound(case)
    file.attach(opened.ioas_alloc())
    opened.close()
    asked = DEVICE_INFO.pack(DEVICE_INFO.size, 0, 0, 0)
    file.descriptor.structure("VFIO_DEVICE_GET_INFO", VFIO_DEVICE_GET_INFO, asked)
    file.close()
    _bound(case)


@test("iommufd", cites=f"IOMMU_IOAS_IOVA_RANGES; {_OBJECTS}", fresh=True)
def an_address_space_is_as_narrow_as_its_devices(case: Case) -> None:
    """Without a device all addresses can be mapped; with one that an IOMMU translates for, reserved ones cannot."""
    opened, file, _ = _bound(case)
    ioas = opened.ioas_alloc()
    everything = ((0, EVERYTHING),)
    found = opened.iova_ranges(ioas).ranges
    case.expect(found == everything, f"an address space without a device has the ranges {found}")
    file.attach(ioas)
    found = opened.iova_ranges(ioas).ranges
    narrow = ways.is_translated(case)
    case.expect((found != everything) == narrow, f"an address space with this device has the ranges {found}")
    file.detach()
    found = opened.iova_ranges(ioas).ranges
    case.expect(found == everything, f"an address space that its device left has the ranges {found}")


@test("iommufd", cites=f"IOMMU_IOAS_IOVA_RANGES: num_iovas, EMSGSIZE; {_OBJECTS}", fresh=True)
def ranges_need_room(case: Case) -> None:
    """Without room for the ranges it is EMSGSIZE, and their number is told."""
    opened = ways.new_iommufd(case)
    layout = iommufd.IOAS_IOVA_RANGES
    asked = bytearray(layout.pack(layout.size, opened.ioas_alloc(), 0, 0, 0, 0))
    with case.refused(errno.EMSGSIZE, what="IOMMU_IOAS_IOVA_RANGES without room"):
        opened.descriptor.in_place("IOMMU_IOAS_IOVA_RANGES", iommufd.IOMMU_IOAS_IOVA_RANGES, asked)
    number = layout.unpack(asked)[2]
    case.expect(number == 1, f"{number} ranges are told of where there is one")


@test("iommufd", cites=f"IOMMU_IOAS_ALLOW_IOVAS; {_OBJECTS}", fresh=True)
def allowed_addresses_stay_possible(case: Case) -> None:
    """The kernel chooses addresses among the allowed ones; a device that cannot have these all is not attached."""
    opened, file, _ = _bound(case)
    ioas, length = opened.ioas_alloc(), 4 * _PAGE
    allowed = (_IOVA, _IOVA + length - 1)
    opened.allow_iovas(ioas, (allowed,))
    memory = case.buffer(length)
    with address_of(memory.memory) as address:
        chosen = [opened.map(ioas, _PAGE, address, None, _READ_WRITE) for _ in range(4)]
        inside = all(allowed[0] <= each <= allowed[1] and not each % _PAGE for each in chosen)
        case.expect(inside and len(set(chosen)) == 4, f"of {allowed} the kernel chose {chosen}")
        with case.refused(errno.ENOSPC, what="an address of the kernel's choice where all allowed ones are taken"):
            opened.map(ioas, _PAGE, address, None, _READ_WRITE)
        opened.unmap(ioas, 0, EVERYTHING)
    reserved = ways.reserved_regions(case) if ways.is_translated(case) else []
    if reserved:
        opened.allow_iovas(ioas, (reserved[0],))
        with case.refused(errno.EADDRINUSE, what="attaching where addresses are allowed that the device reserves"):
            file.attach(ioas)
    with case.refused(errno.EINVAL, what="IOMMU_IOAS_ALLOW_IOVAS of ranges that overlap"):
        opened.allow_iovas(ioas, (allowed, allowed))
    opened.allow_iovas(ioas, ())
    file.attach(ioas)


@test("iommufd", cites=f"IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP; {_OBJECTS}", fresh=True)
def what_an_address_space_cannot_map_is_refused(case: Case) -> None:
    """Unknown objects, addresses at the very end, reserved words: ENOENT, EOVERFLOW, EOPNOTSUPP."""
    opened = ways.new_iommufd(case)
    ioas, memory = opened.ioas_alloc(), case.buffer(_PAGE)
    layout = iommufd.IOAS_MAP
    fixed = _READ_WRITE | iommufd.IOMMU_IOAS_MAP_FIXED_IOVA
    with address_of(memory.memory) as address:
        for code, values, what in (
            (errno.ENOENT, (fixed, _NO_OBJECT, 0, address, _PAGE, _IOVA), "in an object that is not there"),
            (errno.EOPNOTSUPP, (fixed, ioas, 1, address, _PAGE, _IOVA), "with a reserved word"),
            (errno.EOPNOTSUPP, (fixed | 1 << 31, ioas, 0, address, _PAGE, _IOVA), "with an unknown flag"),
            (errno.EOVERFLOW, (fixed, ioas, 0, address, EVERYTHING, _IOVA), "of more bytes than there are"),
            (errno.EOVERFLOW, (fixed, ioas, 0, address, _PAGE, EVERYTHING), "at the last address"),
        ):
            with case.refused(code, what=f"IOMMU_IOAS_MAP {what}"):
                opened.descriptor.structure("IOMMU_IOAS_MAP", iommufd.IOMMU_IOAS_MAP, layout.pack(layout.size, *values))
    with case.refused(errno.ENOENT, what="IOMMU_IOAS_UNMAP in an object that is not there"):
        opened.unmap(_NO_OBJECT, _IOVA, _PAGE)
    with case.refused(errno.EOVERFLOW, what="IOMMU_IOAS_UNMAP of more bytes than there are"):
        opened.unmap(ioas, _IOVA, EVERYTHING)


@test("iommufd", cites=f"IOMMU_IOAS_COPY; {_OBJECTS}", fresh=True)
def mappings_are_copied_between_address_spaces(case: Case) -> None:
    """A copy is a mapping of its own: it stays when the first is gone. Where nothing is mapped, it is ENOENT."""
    opened = ways.new_iommufd(case)
    source, destination = opened.ioas_alloc(), opened.ioas_alloc()
    memory = case.buffer(2 * _PAGE)
    with address_of(memory.memory) as address:
        opened.map(source, 2 * _PAGE, address, _IOVA, _READ_WRITE)
        with case.refused(errno.ENOENT, what="copying what is not mapped whole"):
            opened.copy(source, _IOVA, destination, _IOVA, 3 * _PAGE, _READ_WRITE)
        opened.copy(source, _IOVA, destination, 2 * _IOVA, 2 * _PAGE, _READ_WRITE)
        with case.refused(errno.EEXIST, what="copying over what is mapped"):
            opened.copy(source, _IOVA, destination, 2 * _IOVA + _PAGE, _PAGE, _READ_WRITE)
        opened.unmap(source, _IOVA, 2 * _PAGE)
        unmapped = opened.unmap(destination, 2 * _IOVA, 2 * _PAGE)
        case.expect(unmapped == 2 * _PAGE, f"of the copy {unmapped:#x} bytes were unmapped, not {2 * _PAGE:#x}")


@test("iommufd", cites=f"IOMMU_IOAS_UNMAP of all: iova 0, length 2**64 - 1; {_OBJECTS}", fresh=True)
def an_address_space_is_emptied_at_once(case: Case) -> None:
    """Unmapping everything takes every mapping and tells the sum; of an empty address space it is 0 bytes, or ENOENT.

    (ENOENT until "iommufd: Make unmap all succeed on an empty table", in Linux 6.17 or so, and 0 since.)
    """
    opened = ways.new_iommufd(case)
    ioas, memory = opened.ioas_alloc(), case.buffer(_PAGE)
    with address_of(memory.memory) as address:
        for number in (0, 2, 9):
            opened.map(ioas, _PAGE, address, _IOVA + number * _PAGE, _READ_WRITE)
        unmapped = opened.unmap(ioas, 0, EVERYTHING)
    case.expect(unmapped == 3 * _PAGE, f"{unmapped:#x} bytes were unmapped, and 3 pages were mapped")
    try:
        unmapped = opened.unmap(ioas, 0, EVERYTHING)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        unmapped = 0
    case.expect(not unmapped, f"{unmapped:#x} bytes were unmapped of an empty address space")


@test("iommufd", cites=f"struct iommu_*: size; ENOTTY; {_OBJECTS}", fresh=True)
def calls_of_an_iommufd_are_told_apart_by_size(case: Case) -> None:
    """A structure that is too short is EINVAL; one with more than the kernel knows, if it is not 0, is E2BIG."""
    opened = ways.new_iommufd(case)
    layout = iommufd.IOAS_ALLOC
    with case.refused(errno.EINVAL, what="IOMMU_IOAS_ALLOC of too short a structure"):
        asked = layout.pack(layout.size - 1, 0, 0)
        opened.descriptor.structure("IOMMU_IOAS_ALLOC", iommufd.IOMMU_IOAS_ALLOC, asked)
    with case.refused(errno.E2BIG, what="IOMMU_IOAS_ALLOC with an unknown field"):
        asked = layout.pack(layout.size + 4, 0, 0) + b"\1\0\0\0"
        opened.descriptor.structure("IOMMU_IOAS_ALLOC", iommufd.IOMMU_IOAS_ALLOC, asked)
    opened.descriptor.structure(
        "IOMMU_IOAS_ALLOC", iommufd.IOMMU_IOAS_ALLOC, layout.pack(layout.size + 4, 0, 0) + bytes(4)
    )
    with case.refused(errno.EOPNOTSUPP, what="IOMMU_IOAS_ALLOC with an unknown flag"):
        opened.descriptor.structure("IOMMU_IOAS_ALLOC", iommufd.IOMMU_IOAS_ALLOC, layout.pack(layout.size, 1 << 31, 0))
    with case.refused(errno.ENOTTY, what="an unknown call of an iommufd"):
        opened.descriptor.plain("an unknown call", _NO_CALL)
    with case.refused(errno.ENOENT, what="IOMMU_DESTROY of an object that is not there"):
        opened.destroy(_NO_OBJECT)


@test("iommufd", cites=f"IOMMU_OPTION: IOMMU_OPTION_RLIMIT_MODE, _HUGE_PAGES; {_OBJECTS}", fresh=True)
def options_of_an_iommufd_are_kept(case: Case) -> None:
    """Huge pages can be turned off for an empty address space; how memory is counted is chosen before any object."""
    opened = ways.new_iommufd(case)
    case.expect(opened.option(iommufd.IOMMU_OPTION_RLIMIT_MODE) == 0, "memory is not counted by user at first")
    ioas = opened.ioas_alloc()
    with case.refused(errno.EBUSY, what="IOMMU_OPTION_RLIMIT_MODE where there are objects"):
        opened.set_option(iommufd.IOMMU_OPTION_RLIMIT_MODE, 1)
    case.expect(opened.option(iommufd.IOMMU_OPTION_HUGE_PAGES, ioas) == 1, "huge pages are not on at first")
    opened.set_option(iommufd.IOMMU_OPTION_HUGE_PAGES, 0, ioas)
    case.expect(opened.option(iommufd.IOMMU_OPTION_HUGE_PAGES, ioas) == 0, "huge pages were turned off, and are on")
    with case.refused(errno.EINVAL, what="IOMMU_OPTION_HUGE_PAGES set to 2"):
        opened.set_option(iommufd.IOMMU_OPTION_HUGE_PAGES, 2, ioas)
    with case.refused(errno.EOPNOTSUPP, what="an unknown option"):
        opened.option(99, ioas)
