# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device says of itself, its regions and its interrupts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.capabilities import BUSES
from passthru.vfio.conform.registry import test
from passthru.vfio.device import Call

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_INFO = "VFIO_DEVICE_GET_INFO; struct vfio_device_info in <linux/vfio.h>"
_REGION = "VFIO_DEVICE_GET_REGION_INFO; struct vfio_region_info in <linux/vfio.h>"
_IRQ = "VFIO_DEVICE_GET_IRQ_INFO; struct vfio_irq_info in <linux/vfio.h>"
_PCI = "<linux/vfio.h>: the VFIO-PCI bus driver makes use of the following fixed region and IRQ index mapping"
_ARGSZ = "<linux/vfio.h>: argsz, the size of the structure that the user provides, is the least that is written"

_IRQ_FLAGS = (
    vfio.VFIO_IRQ_INFO_EVENTFD
    | vfio.VFIO_IRQ_INFO_MASKABLE
    | vfio.VFIO_IRQ_INFO_AUTOMASKED
    | vfio.VFIO_IRQ_INFO_NORESIZE
)
_ABSENT = 0xFFFFFFFF
_LONG = 4096  # bytes of argsz, more than any of the structures

_INFOS = (
    (Call.GET_INFO, vfio.DEVICE_INFO.pack(0, 0, 0, 0), vfio.DEVICE_INFO.size),
    (Call.GET_REGION_INFO, vfio.REGION_INFO.pack(0, 0, 0, 0, 0, 0), vfio.REGION_INFO.size),
    (Call.GET_IRQ_INFO, vfio.IRQ_INFO.pack(0, 0, 0, 0), vfio.IRQ_INFO.size),
)


def _with_argsz(structure: bytes, argsz: int) -> bytes:
    return argsz.to_bytes(4, "little") + structure[4:]


@test(cites=_INFO)
def device_info_names_one_bus(case: Case) -> None:
    """The flags name the one bus whose indexes the device's regions and interrupts have."""
    flags = case.device.info().flags
    buses = [bus for flag, bus in BUSES.items() if flags & flag]
    case.expect(len(buses) == 1, f"flags {flags:#x} name the buses {buses or 'none'}")


@test(cites=_INFO)
def device_info_is_stable(case: Case) -> None:
    """Asked again, the device says the same."""
    first, second = case.device.info(), case.device.info()
    case.expect(first == second, f"first {first}, then {second}")


@test("pci", cites=_PCI)
def pci_indexes_are_fixed(case: Case) -> None:
    """A PCI device has at least the regions up to its configuration space, and INTx, MSI and MSI-X."""
    info = case.device.info()
    case.expect(
        info.num_regions > vfio.VFIO_PCI_CONFIG_REGION_INDEX,
        f"there are {info.num_regions} regions, and configuration space is region {vfio.VFIO_PCI_CONFIG_REGION_INDEX}",
    )
    case.expect(info.num_irqs > vfio.VFIO_PCI_MSIX_IRQ_INDEX, f"there are {info.num_irqs} interrupt indexes")


@test("pci", cites=_PCI + "; unimplemented regions return a size of zero")
def each_bar_region_is_told(case: Case) -> None:
    """A PCI device tells of each BAR, of the ROM and of configuration space, whether it is there or not."""
    for index in range(vfio.VFIO_PCI_CONFIG_REGION_INDEX + 1):
        region = case.device.region_info(index)
        case.expect(region.index == index, f"asked for region {index}, the answer is of region {region.index}")


@test(cites=_ARGSZ)
def a_short_argsz_is_refused(case: Case) -> None:
    """An argsz that does not hold the structure is EINVAL, whatever is asked."""
    for call, structure, size in _INFOS:
        for argsz in (0, 4, size - 1):
            with case.refused(errno.EINVAL, what=f"{call.value} with argsz {argsz} of {size}"):
                case.device.call(call, _with_argsz(structure, argsz))


@test(cites=_ARGSZ)
def a_long_argsz_is_taken(case: Case) -> None:
    """An argsz beyond what the device knows is no error, as newer users know longer structures."""
    for call, structure, size in _INFOS:
        answer = case.device.call(call, _with_argsz(structure, _LONG))
        case.expect(len(answer) >= size, f"{call.value} with argsz {_LONG} answered {len(answer)} bytes")


@test(cites=_REGION)
def an_absent_index_of_region_info_is_refused(case: Case) -> None:
    """A region index that the device has not got is EINVAL."""
    for index in (case.device.info().num_regions, 1 << 31, _ABSENT):
        with case.refused(errno.EINVAL, what=f"region info of region {index:#x}"):
            case.device.region_info(index)


@test(cites=_IRQ)
def an_absent_index_of_irq_info_is_refused(case: Case) -> None:
    """An interrupt index that the device has not got is EINVAL."""
    for index in (case.device.info().num_irqs, 1 << 31, _ABSENT):
        with case.refused(errno.EINVAL, what=f"interrupt info of index {index:#x}"):
            case.device.irq_info(index)


@test(cites=_REGION + "; VFIO_REGION_INFO_FLAG_CAPS and cap_offset")
def room_for_capabilities_is_asked_for(case: Case) -> None:
    """Where argsz holds no capabilities, the answer has none and says how much they need; asked so, it has them."""
    for index in range(case.device.info().num_regions):
        bare = vfio.REGION_INFO.pack(vfio.REGION_INFO.size, 0, index, 0, 0, 0)
        try:
            answer = case.device.call(Call.GET_REGION_INFO, bare)
        except OSError:  # the VGA region of a device without VGA
            continue
        argsz, _, _, cap_offset, *_ = vfio.REGION_INFO.unpack_from(answer)
        case.expect(cap_offset == 0, f"region {index}: a chain at {cap_offset} behind an argsz of {len(bare)}")
        capabilities = case.device.region_info(index).capabilities
        case.expect(
            (argsz > vfio.REGION_INFO.size) == bool(capabilities),
            f"region {index} asks for argsz {argsz} and has {len(capabilities)} capabilities",
        )


@test(cites="passthru.vfio.stubs.stub.Stub.prepare")
def the_stub_makes_the_device_ready(case: Case) -> None:
    """What is known of the device makes it ready: no access that it takes is refused."""
    error = case.unprepared
    case.expect(error is None, f"the stub was refused when it made the device ready: {error}")


@test(cites=_IRQ)
def irq_flags_make_sense(case: Case) -> None:
    """The flags of an interrupt index are known ones, and what is masked by itself can be unmasked."""
    for index in range(case.device.info().num_irqs):
        try:
            irq = case.device.irq_info(index)
        except OSError as error:
            case.expect(error.errno == errno.EINVAL, f"interrupt info of index {index} was refused with {error}")
            continue
        case.expect(irq.index == index, f"asked for index {index}, the answer is of index {irq.index}")
        case.expect(not irq.flags & ~_IRQ_FLAGS, f"index {index} has unknown flags {irq.flags:#x}")
        automasked = irq.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED
        maskable = irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE
        case.expect(maskable or not automasked, f"index {index} is AUTOMASKED and not MASKABLE: {irq.flags:#x}")
        case.expect(irq.count < 1 << 16, f"index {index} has {irq.count} interrupts")
