# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration space of a PCI device, which a bus driver virtualises: BARs, command, identity, capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform import config_space as pci
from passthru.vfio.conform import places
from passthru.vfio.conform.config_space import ConfigSpace
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.conform.case import Case

_CONFIG = "VFIO_PCI_CONFIG_REGION_INDEX in <linux/vfio.h>"
_HEADER = _CONFIG + "; PCI Local Bus Specification 3.0, 6.1: configuration space organization"
_BARS = _CONFIG + "; PCI Local Bus Specification 3.0, 6.2.5.1: address maps, where sizes are found by writing ones"
_CHAIN = _CONFIG + "; PCI Local Bus Specification 3.0, 6.7: capabilities list"
_EXTENDED = _CONFIG + "; PCI Express Base Specification, 7.9: extended capabilities from 0x100 on"
_COUNTS = "VFIO_DEVICE_GET_IRQ_INFO; unimplemented IRQ types return a count of zero (<linux/vfio.h>)"
_ACCESS = _CONFIG + "; pread(2) of the device"

_STEADY = ((pci.PCI_VENDOR_ID, 4), (pci.PCI_CLASS_REVISION, 4), (pci.PCI_SUBSYSTEM_VENDOR_ID, 4))
_MOST = 64  # capabilities of 4 bytes at least fill 192 bytes by then
_MOST_EXTENDED = 960


@test("pci", cites=_HEADER)
def config_space_has_a_size_of_pci(case: Case) -> None:
    """Configuration space is 256 bytes, or 4096; that of the kernel's mtty says 255."""
    size = case.device.region_info(vfio.VFIO_PCI_CONFIG_REGION_INDEX).size
    sizes = [pci.PCI_CFG_SPACE_SIZE, pci.PCI_CFG_SPACE_EXP_SIZE]
    if places.is_mtty_config(case, vfio.VFIO_PCI_CONFIG_REGION_INDEX):
        sizes = [0xFF]  # MTTY_CONFIG_SPACE_SIZE
    case.expect(size in sizes, f"the configuration space is {size} bytes, and not {' or '.join(map(str, sizes))}")


@test("pci", cites=_CONFIG)
def config_space_is_read_and_written(case: Case) -> None:
    """Configuration space can be read and written, and not be mapped."""
    flags = case.device.region_info(vfio.VFIO_PCI_CONFIG_REGION_INDEX).flags
    both = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE
    case.expect(flags & both == both, f"flags {flags:#x} lack reading or writing")
    case.expect(not flags & vfio.VFIO_REGION_INFO_FLAG_MMAP, f"flags {flags:#x} let it be mapped past the bus driver")


@test("pci", cites=_HEADER)
def a_device_is_there(case: Case) -> None:
    """Vendor and device are those of a device that answers, with a header of type 0."""
    config = ConfigSpace(case.device)
    vendor, header = config.get(pci.PCI_VENDOR_ID, 2), config.get(pci.PCI_HEADER_TYPE, 1)
    case.expect(vendor not in (0, 0xFFFF), f"the vendor is {vendor:#06x}, which nobody has")
    case.expect(header & 0x7F == 0, f"the header is of type {header & 0x7F}")


@test("pci", cites=_ACCESS)
def config_reads_of_any_size_agree(case: Case) -> None:
    """Reads of 1, 2, 4 and more bytes, aligned or not, give the same bytes, each as many as were asked for."""
    config = ConfigSpace(case.device)
    whole = config.bytes(0, pci.PCI_STD_HEADER_SIZEOF)
    case.expect(len(whole) == pci.PCI_STD_HEADER_SIZEOF, f"a read of the header gave {len(whole)} bytes")
    for start, length in _STEADY:
        for offset in range(start, start + length):
            for size in range(1, start + length - offset + 1):
                data, wanted = config.bytes(offset, size), whole[offset : offset + size]
                case.expect(
                    data == wanted, f"{size} bytes at {offset:#x} are {data.hex()}, within the header {wanted.hex()}"
                )


@test("pci", cites=_HEADER)
def identity_cannot_be_written(case: Case) -> None:
    """Vendor, device, revision, class and subsystem are read only; writes of them are taken and change nothing."""
    config = ConfigSpace(case.device)
    for offset, size in _STEADY:
        before = config.get(offset, size)
        config.put(offset, before ^ 0xFFFFFFFF, size)
        after = config.get(offset, size)
        case.expect(after == before, f"{before:#010x} at {offset:#x} became {after:#010x}")


@test("pci", cites=_BARS)
def bars_tell_the_sizes_of_regions(case: Case) -> None:
    """Ones written to a BAR read back as the size of its region; a BAR without a region reads zero."""
    config = ConfigSpace(case.device)
    for index, at, wide in _bars(config):
        region = case.device.region_info(index)
        with config.kept(at, 4) as low:
            config.put(at, 0xFFFFFFFF, 4)
            written = config.get(at, 4)
            upper = 0
            if wide:
                with config.kept(at + 4, 4):
                    config.put(at + 4, 0xFFFFFFFF, 4)
                    upper = config.get(at + 4, 4)
        bits = pci.PCI_BASE_ADDRESS_IO_MASK if low & pci.PCI_BASE_ADDRESS_SPACE_IO else pci.PCI_BASE_ADDRESS_MEM_MASK
        narrow = low & pci.PCI_BASE_ADDRESS_SPACE_IO and not written >> 16  # I/O may decode 16 bits
        told = _size(written & bits | upper << 32, 64 if wide else 16 if narrow else 32)
        case.expect(
            told == region.size,
            f"BAR {index} reads {upper:#x} {written:#010x}: {told:#x} bytes, region {region.size:#x}",
        )
        case.expect(
            written & ~bits & 0xF == low & ~bits & 0xF, f"the kind of BAR {index} changed from {low:#x} to {written:#x}"
        )
        case.expect(config.get(at, 4) == low, f"BAR {index} was {low:#010x}, and is {config.get(at, 4):#010x} after it")


@test("pci", cites=_BARS)
def the_rom_tells_the_size_of_its_region(case: Case) -> None:
    """Ones written to the ROM's address read back as the size of its region; without a ROM they read zero.

    vfio-pci keeps the address of a ROM whose contents it cannot read, and gives it a region of no size.
    """
    config = ConfigSpace(case.device)
    region = case.device.region_info(vfio.VFIO_PCI_ROM_REGION_INDEX)
    with config.kept(pci.PCI_ROM_ADDRESS, 4):
        config.put(pci.PCI_ROM_ADDRESS, pci.PCI_ROM_ADDRESS_MASK, 4)
        written = config.get(pci.PCI_ROM_ADDRESS, 4)
    told = _size(written & pci.PCI_ROM_ADDRESS_MASK, 32)
    unreadable = case.facts.transport == "kernel" and not region.size
    case.expect(
        told == region.size or unreadable, f"the ROM reads {written:#010x}: {told:#x} bytes, region {region.size:#x}"
    )


@test("pci", cites=_HEADER + "; 6.2.2: device control")
def the_command_register_enables_decoding(case: Case) -> None:
    """I/O and memory decoding can be switched on where there are BARs for it, and read so."""
    config = ConfigSpace(case.device)
    with config.kept(pci.PCI_COMMAND, 2) as before:
        for index, at, _ in _bars(config):
            if case.device.region_info(index).size:
                io = config.get(at, 4) & pci.PCI_BASE_ADDRESS_SPACE_IO
                bit = pci.PCI_COMMAND_IO if io else pci.PCI_COMMAND_MEMORY
                config.put(pci.PCI_COMMAND, before | bit, 2)
                after = config.get(pci.PCI_COMMAND, 2)
                case.expect(after & bit, f"command {before | bit:#06x} was written, {after:#06x} is read: BAR {index}")


@test("pci", cites=_HEADER + "; 6.2.4: the interrupt line is read and written by software")
def the_interrupt_line_keeps_what_is_written(case: Case) -> None:
    """The interrupt line is software's own byte, where there is an interrupt pin."""
    config = ConfigSpace(case.device)
    if not config.get(pci.PCI_INTERRUPT_PIN, 1):
        case.missing("the device has no interrupt pin")
    with config.kept(pci.PCI_INTERRUPT_LINE, 1):
        for value in (0x5A, 0xA5, 0x00, 0xFF):
            config.put(pci.PCI_INTERRUPT_LINE, value, 1)
            found = config.get(pci.PCI_INTERRUPT_LINE, 1)
            case.expect(found == value, f"wrote {value:#04x}, read {found:#04x}")


@test("pci", cites=_HEADER + "; 6.2.4 and " + _COUNTS)
def the_interrupt_pin_agrees_with_intx(case: Case) -> None:
    """The interrupt pin is 0 where INTx has no interrupt, and one of 4 where it has one."""
    pin = ConfigSpace(case.device).get(pci.PCI_INTERRUPT_PIN, 1)
    count = case.device.irq_info(vfio.VFIO_PCI_INTX_IRQ_INDEX).count
    case.expect(pin <= 4, f"the interrupt pin is {pin}")
    case.expect(bool(pin) == bool(count), f"the interrupt pin is {pin}, and INTx has a count of {count}")


@test("pci", cites=_CHAIN)
def the_capability_list_ends(case: Case) -> None:
    """The capability list stays behind the header, has no circle, and no two capabilities share a place."""
    config = ConfigSpace(case.device)
    seen: list[int] = []
    for identity, at in config.capabilities():
        where = f"capability {identity:#04x} at {at:#04x}, after {[hex(each) for each in seen]}"
        case.expect(pci.PCI_STD_HEADER_SIZEOF <= at <= 0xFC and not at % 4, f"{where}: no place for one")
        case.expect(at not in seen and len(seen) < _MOST, f"{where}: a circle")
        case.expect(identity != 0xFF, f"{where}: nothing there")
        seen.append(at)


@test("pci", cites=_EXTENDED)
def the_extended_capability_list_ends(case: Case) -> None:
    """The list of extended capabilities stays in extended configuration space and has no circle."""
    if case.device.region_info(vfio.VFIO_PCI_CONFIG_REGION_INDEX).size < pci.PCI_CFG_SPACE_EXP_SIZE:
        case.missing("the device has no extended configuration space")
    seen: list[int] = []
    for identity, at in ConfigSpace(case.device).extended_capabilities():
        where = f"extended capability {identity:#06x} at {at:#05x}, after {[hex(each) for each in seen]}"
        case.expect(pci.PCI_CFG_SPACE_SIZE <= at <= 0xFFC and not at % 4, f"{where}: no place for one")
        case.expect(at not in seen and len(seen) < _MOST_EXTENDED, f"{where}: a circle")
        seen.append(at)


@test("pci", cites=_COUNTS)
def message_capabilities_agree_with_irq_info(case: Case) -> None:
    """MSI and MSI-X have as many interrupts by VFIO_DEVICE_GET_IRQ_INFO as by their capabilities."""
    config = ConfigSpace(case.device)
    for identity, at in config.capabilities():
        if identity not in (pci.PCI_CAP_ID_MSI, pci.PCI_CAP_ID_MSIX):
            continue
        flags = config.get(at + pci.PCI_CAP_MSI_FLAGS, 2)
        if identity == pci.PCI_CAP_ID_MSI:
            index, told = vfio.VFIO_PCI_MSI_IRQ_INDEX, 1 << ((flags & pci.PCI_MSI_FLAGS_QMASK) >> 1)
        else:
            index, told = vfio.VFIO_PCI_MSIX_IRQ_INDEX, (flags & pci.PCI_MSIX_FLAGS_QSIZE) + 1
        count = case.device.irq_info(index).count
        case.expect(count == told, f"index {index} has {count} interrupts, its capability at {at:#04x} says {told}")


def _bars(config: ConfigSpace) -> Iterator[tuple[int, int, bool]]:
    """(index, offset in configuration space, whether it has 64 bits) of each BAR; upper halves are no BARs."""
    index = 0
    while index <= vfio.VFIO_PCI_BAR5_REGION_INDEX:
        at = pci.PCI_BASE_ADDRESS_0 + 4 * index
        low = config.get(at, 4)
        memory = not low & pci.PCI_BASE_ADDRESS_SPACE_IO
        wide = memory and low & pci.PCI_BASE_ADDRESS_MEM_TYPE_MASK == pci.PCI_BASE_ADDRESS_MEM_TYPE_64
        yield index, at, wide
        index += 2 if wide else 1


def _size(address_bits: int, width: int) -> int:
    """How many bytes a BAR decodes whose writable bits are these: 0 for none."""
    return (-address_bits) & ((1 << width) - 1)
