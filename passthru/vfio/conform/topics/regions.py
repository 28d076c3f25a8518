# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions: their size and flags, reading and writing them, mapping them.

Reading a register can have an effect (a UART gives a byte away), so BARs are read only where that is safe: by the PCI
specification in prefetchable ones and the ROM, or where the device's stub says so.
"""

from __future__ import annotations

import errno
import mmap
from itertools import pairwise
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform import places
from passthru.vfio.conform.registry import test
from passthru.vfio.info_capabilities import SparseMmap

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import RegionInfo

_REGION = "VFIO_DEVICE_GET_REGION_INFO; VFIO_REGION_INFO_FLAG_* in <linux/vfio.h>"
_ACCESS = "pread(2) and pwrite(2) of the device at a region's offset; REGION_READ and REGION_WRITE of vfio-user.rst"
_MMAP = "VFIO_REGION_INFO_FLAG_MMAP and VFIO_REGION_INFO_CAP_SPARSE_MMAP in <linux/vfio.h>"

_KNOWN = (
    vfio.VFIO_REGION_INFO_FLAG_READ
    | vfio.VFIO_REGION_INFO_FLAG_WRITE
    | vfio.VFIO_REGION_INFO_FLAG_MMAP
    | vfio.VFIO_REGION_INFO_FLAG_CAPS
)


@test(cites=_REGION)
def region_flags_make_sense(case: Case) -> None:
    """Flags are known ones, and what can be mapped is there and can be read or written."""
    for region in places.regions(case.device):
        flags = region.flags
        case.expect(not flags & ~_KNOWN, f"region {region.index} has unknown flags {flags:#x}")
        usable = region.size and flags & (vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE)
        case.expect(
            usable or not flags & vfio.VFIO_REGION_INFO_FLAG_MMAP,
            f"region {region.index} of {region.size} bytes can be mapped, and not be read or written: {flags:#x}",
        )


@test("kernel", cites=_REGION + "; the offset is where the region begins in the device's descriptor")
def regions_do_not_overlap(case: Case) -> None:
    """No two regions share bytes of the descriptor."""
    there = sorted((r for r in places.regions(case.device) if r.size), key=lambda region: region.offset)
    for before, after in pairwise(there):
        case.expect(
            before.offset + before.size <= after.offset,
            f"region {before.index} at {before.offset:#x} of {before.size:#x} bytes reaches into region {after.index}"
            f" at {after.offset:#x}",
        )


@test(cites=_REGION)
def region_info_is_stable(case: Case) -> None:
    """Asked again, a region is the same, mapped parts included."""
    first, second = places.regions(case.device), places.regions(case.device)
    case.expect(first == second, f"first {first}, then {second}")


@test(cites=_ACCESS)
def a_region_ends_where_it_says(case: Case) -> None:
    """The last bytes of a region can be read, and are as many as were asked for."""
    for part in places.quiet(case):
        size = min(part.width, part.size)
        last = part.offset + part.size - size
        data = case.device.read(part.region, last, size)
        case.expect(
            len(data) == size, f"region {part.region} gave {len(data)} of the {size} bytes at {last:#x}, inside of it"
        )


@test(cites=_ACCESS)
def a_read_past_the_end_of_a_region_is_refused(case: Case) -> None:
    """Nothing is read from where a region ends."""
    for region in places.regions(case.device):
        if region.size and region.flags & vfio.VFIO_REGION_INFO_FLAG_READ:
            for size in (1, 4):
                _nothing_read(case, region, _first_past(case, region), size)


@test(cites=_ACCESS)
def a_write_past_the_end_of_a_region_is_refused(case: Case) -> None:
    """Nothing is written where a region ends."""
    for region in places.regions(case.device):
        if not (region.size and region.flags & vfio.VFIO_REGION_INFO_FLAG_WRITE):
            continue
        for size in (1, 4):
            taken = 0
            with case.may_be_refused():
                taken = case.device.write(region.index, _first_past(case, region), bytes(size))
            case.expect(not taken, f"region {region.index} took {taken} bytes past its {region.size:#x}")


@test(cites=_ACCESS)
def a_read_across_past_the_end_of_a_region_is_cut(case: Case) -> None:
    """A read that begins inside a region and reaches out of it is refused, or gives the bytes inside."""
    for part in places.quiet(case):
        region = case.device.region_info(part.region)
        if part.offset + part.size != region.size or part.width > 4 or places.is_mtty_config(case, part.region):
            continue
        inside = part.width
        data = b""
        with case.may_be_refused():
            data = case.device.read(part.region, region.size - inside, inside + 4)
        case.expect(
            len(data) <= inside, f"region {part.region} gave {len(data)} bytes where {inside} are left before its end"
        )


@test(cites=_REGION + "; unimplemented regions return a size of zero")
def an_absent_region_has_nothing_to_read(case: Case) -> None:
    """A region of size zero gives nothing."""
    for region in places.regions(case.device):
        if not region.size:
            _nothing_read(case, region, 0, 4)


@test(cites=_ACCESS)
def far_offsets_are_refused(case: Case) -> None:
    """Offsets whose sum with the size wraps around or that no region reaches are refused."""
    farthest = (1 << 63) - 4
    if case.facts.transport == "kernel":  # beyond that is another region's place in the descriptor
        farthest = (1 << 39) - 4
    for region in places.regions(case.device):
        if region.size and region.flags & vfio.VFIO_REGION_INFO_FLAG_READ:
            for offset in (farthest, farthest + 3, 1 << 32):
                _nothing_read(case, region, offset, 4)


@test(cites=_ACCESS)
def what_reads_without_effect_reads_the_same(case: Case) -> None:
    """What the device keeps reads the same each time."""
    for part in places.quiet(case):
        first, second = places.read(case.device, part), places.read(case.device, part)
        case.expect(
            first == second, f"region {part.region} at {part.offset:#x} read {first.hex()}, then {second.hex()}"
        )


@test("stub.scratch", cites=_ACCESS)
def memory_is_read_in_any_way(case: Case) -> None:
    """Memory that takes accesses of any size gives the same bytes by all of them, aligned or not."""
    tried = False
    for part in places.scratch(case):
        if part.width > 1 or part.size < 16:
            continue
        tried = True
        with places.restored(case.device, part):
            data = case.random.randbytes(part.size)
            places.write(case, part, data)
            for offset in range(8):
                for size in range(1, part.size - offset + 1):
                    found = case.device.read(part.region, part.offset + offset, size)
                    wanted = data[offset : offset + size]
                    case.expect(
                        found == wanted, f"{size} bytes at {part.offset + offset:#x}: {_difference(found, wanted)}"
                    )
    if not tried:
        case.missing("no memory of the device is known to take accesses of any size")


@test("stub.scratch", cites=_ACCESS)
def what_is_written_reads_back(case: Case) -> None:
    """A register or memory that keeps what is written gives it back, byte for byte, and all bytes were taken."""
    for part in places.scratch(case):
        with places.restored(case.device, part):
            for data in (case.random.randbytes(part.size), bytes(part.size), b"\xff" * part.size):
                places.write(case, part, data)
                found = places.read(case.device, part)
                case.expect(
                    found == data,
                    f"region {part.region} at {part.offset:#x}: wrote {_shown(data)}, read {_shown(found)}",
                )


@test("stub.scratch", cites=_ACCESS)
def a_write_stays_where_it_belongs(case: Case) -> None:
    """A write of one unit leaves its neighbours as they were."""
    for part in places.scratch(case):
        if part.size < 3 * part.width:
            continue
        with places.restored(case.device, part):
            before = case.random.randbytes(part.size)
            places.write(case, part, before)
            at = part.size // part.width // 2 * part.width
            unit = bytes(byte ^ 0xFF for byte in before[at : at + part.width])
            case.device.write(part.region, part.offset + at, unit)
            wanted = before[:at] + unit + before[at + part.width :]
            found = places.read(case.device, part)
            case.expect(
                found == wanted,
                f"region {part.region}: a write of {unit.hex()} at {part.offset + at:#x}, {_difference(found, wanted)}",
            )


@test("mmap", cites=_MMAP)
def areas_to_map_are_pages_inside_their_region(case: Case) -> None:
    """What can be mapped is whole pages, inside its region, and no page twice."""
    for region in places.mappable(case.device):
        end = 0
        for offset, size in sorted(places.areas(region)):
            where = f"region {region.index} of {region.size:#x} bytes: area {offset:#x} of {size:#x} bytes"
            case.expect(size and not offset % mmap.PAGESIZE and not size % mmap.PAGESIZE, f"{where} is no pages")
            case.expect(offset + size <= -(-region.size // mmap.PAGESIZE) * mmap.PAGESIZE, f"{where} reaches out")
            case.expect(offset >= end, f"{where} overlaps the one before")
            end = offset + size


@test("mmap", cites=_MMAP)
def what_can_be_mapped_maps(case: Case) -> None:
    """Every area that can be mapped maps, whole."""
    for region in places.mappable(case.device):
        for offset, size in places.areas(region):
            mapped = case.map(case.device, region.index, offset, size)
            case.expect(len(mapped) == size, f"region {region.index} at {offset:#x}: {len(mapped)} of {size} bytes")


@test("kernel", cites=_MMAP)
def what_cannot_be_mapped_is_refused(case: Case) -> None:
    """A region without VFIO_REGION_INFO_FLAG_MMAP cannot be mapped, and none beyond its end."""
    for region in places.regions(case.device):
        if not region.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP:
            with case.refused(what=f"mapping region {region.index}, which has flags {region.flags:#x}"):
                case.map(case.device, region.index, 0, mmap.PAGESIZE)
        else:
            pages = -(-region.size // mmap.PAGESIZE) * mmap.PAGESIZE
            with case.refused(errno.EINVAL, what=f"mapping region {region.index} from its end on"):
                case.map(case.device, region.index, pages, mmap.PAGESIZE)


@test("mmap", cites=_MMAP)
def mmap_equals_pread(case: Case) -> None:
    """What a mapping shows is what reading gives."""
    compared = 0
    for part, mapped, at in places.mapped_parts(case, places.quiet(case)):
        shown = places.peek(case, mapped, at, part.size, part.width)
        given = places.read(case.device, part)
        case.expect(
            shown == given,
            f"region {part.region} at {part.offset:#x}: mapped {_difference(shown, given)}",
        )
        compared += 1
    if not compared:
        case.missing("nothing that can be mapped is known to be read without an effect")


@test("mmap", "stub.scratch", cites=_MMAP)
def writes_are_seen_both_ways(case: Case) -> None:
    """What is written to the region is seen in its mapping, and what is stored in the mapping is read."""
    compared = 0
    for part, mapped, at in places.mapped_parts(case, places.scratch(case)):
        with places.restored(case.device, part):
            data = case.random.randbytes(part.size)
            places.write(case, part, data)
            shown = places.peek(case, mapped, at, part.size, part.width)
            case.expect(shown == data, f"region {part.region}: written, and mapped {_difference(shown, data)}")
            data = case.random.randbytes(part.size)
            places.poke(mapped, at, data, part.width)
            given = places.read(case.device, part)
            case.expect(
                given == data, f"region {part.region}: stored in the mapping, and read {_difference(given, data)}"
            )
        compared += 1
    if not compared:
        case.missing("nothing that can be mapped is known to keep what is written")


@test("mmap", cites=_MMAP)
def sparse_areas_are_of_a_region_that_maps(case: Case) -> None:
    """A sparse area belongs to a region with VFIO_REGION_INFO_FLAG_MMAP."""
    for region in places.regions(case.device):
        sparse = [each for each in region.capabilities if isinstance(each, SparseMmap)]
        case.expect(len(sparse) <= 1, f"region {region.index} has {len(sparse)} lists of sparse areas")
        case.expect(
            not sparse or region.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP,
            f"region {region.index} has sparse areas and flags {region.flags:#x}",
        )


def _first_past(case: Case, region: RegionInfo) -> int:
    """Where nothing is left; mtty's configuration space says 255 bytes and has 256."""
    return region.size + (1 if places.is_mtty_config(case, region.index) else 0)


def _nothing_read(case: Case, region: RegionInfo, offset: int, size: int) -> None:
    data = b""
    with case.may_be_refused():
        data = case.device.read(region.index, offset, size)
    case.expect(
        not data, f"region {region.index} of {region.size:#x} bytes gave {len(data)} bytes at {offset:#x}: {data.hex()}"
    )


def _shown(data: bytes) -> str:
    return data.hex() if len(data) <= 16 else f"{data[:16].hex()}... ({len(data)} bytes)"


def _difference(found: bytes, wanted: bytes) -> str:
    if len(found) != len(wanted):
        return f"{len(found)} bytes instead of {len(wanted)}"
    at = next((at for at in range(len(wanted)) if found[at] != wanted[at]), 0)
    return f"{found[at : at + 8].hex()} instead of {wanted[at : at + 8].hex()} at byte {at:#x}"
