# SPDX-License-Identifier: GPL-2.0-or-later
"""iommufd and device files, to the byte; and the memory that an IOAS's devices see."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_iommufd
from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.buffer import Buffer
from passthru.vfio.device import DmaInfo
from passthru.vfio.kernel.cdev import DeviceFile
from passthru.vfio.kernel.dma import IoasDma
from passthru.vfio.kernel.iommufd import EVERYTHING, Iommufd, IovaRanges
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl, read_memory, refusal, refuse, write_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")
IOAS = 3
BOTH = linux_iommufd.IOMMU_IOAS_MAP_READABLE | linux_iommufd.IOMMU_IOAS_MAP_WRITEABLE
FIXED = linux_iommufd.IOMMU_IOAS_MAP_FIXED_IOVA


@pytest.fixture
def ioctl() -> FakeIoctl:
    return FakeIoctl()


@pytest.fixture
def iommufd(ioctl: FakeIoctl) -> Iterator[Iommufd]:
    iommufd = Iommufd(ioctl.descriptor())
    yield iommufd
    iommufd.close()


@pytest.fixture
def buffer() -> Iterator[Buffer]:
    buffer = Buffer(2 * PAGE)
    yield buffer
    buffer.close()


@pytest.mark.parametrize("number", [0, 1, 16, 17, 300])
def test_any_number_of_iova_ranges(iommufd: Iommufd, ioctl: FakeIoctl, number: int) -> None:
    ranges = tuple((each << 20, (each << 20) + 0xFFF) for each in range(number))

    def tell(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        layout = linux_iommufd.IOAS_IOVA_RANGES
        size, ioas, room, reserved, address, _ = layout.unpack_from(argument)
        assert (size, ioas, reserved) == (32, IOAS, 0)
        layout.pack_into(argument, 0, size, ioas, number, 0, address, 4096)
        write_memory(address, b"".join(linux_iommufd.IOVA_RANGE.pack(*each) for each in ranges[:room]))
        if room < number:
            raise refusal(errno.EMSGSIZE)

    ioctl.answers[linux_iommufd.IOMMU_IOAS_IOVA_RANGES] = tell
    assert iommufd.iova_ranges(IOAS) == IovaRanges(ranges, 4096)
    assert IoasDma(iommufd, IOAS).info() == DmaInfo(4096, ranges)


def test_iova_ranges_that_never_have_room_are_an_error(iommufd: Iommufd, ioctl: FakeIoctl) -> None:
    ioctl.answers[linux_iommufd.IOMMU_IOAS_IOVA_RANGES] = refuse(errno.EMSGSIZE)
    with pytest.raises(OSError, match="no room for 16 ranges") as raised:
        iommufd.iova_ranges(IOAS)
    assert raised.value.errno == errno.EMSGSIZE
    assert len(ioctl.asked) == 1


def test_objects_options_and_copies(iommufd: Iommufd, ioctl: FakeIoctl) -> None:
    def alloc(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        linux_iommufd.IOAS_ALLOC.pack_into(argument, 0, 12, 0, IOAS)

    def option(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        if argument[8] == linux_iommufd.IOMMU_OPTION_OP_GET:
            argument[16:24] = (1).to_bytes(8, "little")

    def copy(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        layout = linux_iommufd.IOAS_COPY
        assert layout.unpack_from(argument) == (40, BOTH, 4, IOAS, PAGE, 0, 0x1000)
        layout.pack_into(argument, 0, 40, BOTH, 4, IOAS, PAGE, 0x7000, 0x1000)

    ioctl.answers |= {
        linux_iommufd.IOMMU_IOAS_ALLOC: alloc,
        linux_iommufd.IOMMU_OPTION: option,
        linux_iommufd.IOMMU_IOAS_COPY: copy,
        linux_iommufd.IOMMU_DESTROY: refuse(errno.EBUSY),
    }
    assert iommufd.ioas_alloc() == IOAS
    assert iommufd.option(linux_iommufd.IOMMU_OPTION_HUGE_PAGES, IOAS) == 1
    iommufd.set_option(linux_iommufd.IOMMU_OPTION_HUGE_PAGES, 0, IOAS)
    assert iommufd.copy(IOAS, 0x1000, 4, None, PAGE, BOTH) == 0x7000
    with pytest.raises(OSError, match="busy"):
        iommufd.destroy(IOAS)


def test_a_memfd_is_mapped_as_a_file_where_the_kernel_can(iommufd: Iommufd, ioctl: FakeIoctl, buffer: Buffer) -> None:
    ioctl.answers[linux_iommufd.IOMMU_IOAS_MAP_FILE] = lambda _: 0
    IoasDma(iommufd, IOAS).map(0x5000, PAGE, buffer.descriptor, PAGE)
    given = ioctl.asked[-1][1]
    assert isinstance(given, bytes)
    layout = linux_iommufd.IOAS_MAP_FILE
    assert layout.unpack_from(given) == (40, FIXED | BOTH, IOAS, buffer.descriptor, PAGE, PAGE, 0x5000)


def test_an_older_kernel_is_told_an_address_and_not_asked_again(
    iommufd: Iommufd, ioctl: FakeIoctl, buffer: Buffer
) -> None:
    ioctl.answers[linux_iommufd.IOMMU_IOAS_MAP] = lambda _: 0
    dma = IoasDma(iommufd, IOAS)
    dma.map(0x5000, PAGE, buffer.descriptor, PAGE, iommu.VFIO_DMA_MAP_FLAG_READ)
    dma.map(0x9000, PAGE, buffer.descriptor, 0, iommu.VFIO_DMA_MAP_FLAG_WRITE)
    assert [number for number, _ in ioctl.asked] == [
        linux_iommufd.IOMMU_IOAS_MAP_FILE,
        linux_iommufd.IOMMU_IOAS_MAP,
        linux_iommufd.IOMMU_IOAS_MAP,
    ]
    given = ioctl.asked[1][1]
    assert isinstance(given, bytes)
    size, flags, ioas, _, address, length, iova = linux_iommufd.IOAS_MAP.unpack_from(given)
    assert (size, flags, ioas, length, iova) == (40, FIXED | 4, IOAS, PAGE, 0x5000)
    buffer.memory[PAGE : PAGE + 4] = b"seen"
    assert read_memory(address, 4) == b"seen"
    dma.close()


def test_a_refused_mapping_is_refused_and_not_tried_another_way(
    iommufd: Iommufd, ioctl: FakeIoctl, buffer: Buffer
) -> None:
    ioctl.answers[linux_iommufd.IOMMU_IOAS_MAP_FILE] = refuse(errno.EEXIST)
    with pytest.raises(OSError, match="exists"):
        IoasDma(iommufd, IOAS).map(0x5000, PAGE, buffer.descriptor)
    assert len(ioctl.asked) == 1


@pytest.mark.parametrize("unknown", [1 << 2, 1 << 7, 1 << 23])
def test_flags_that_mean_nothing_to_vfio_mean_nothing_to_an_ioas(
    iommufd: Iommufd, ioctl: FakeIoctl, buffer: Buffer, unknown: int
) -> None:
    ioctl.answers[linux_iommufd.IOMMU_IOAS_MAP_FILE] = lambda _: 0
    IoasDma(iommufd, IOAS).map(0x5000, PAGE, buffer.descriptor, 0, 3 | unknown)
    given = ioctl.asked[-1][1]
    assert isinstance(given, bytes)
    flags = linux_iommufd.IOAS_MAP_FILE.unpack_from(given)[1]
    assert flags & 7 == FIXED | BOTH
    assert flags & ~7, "the kernel has something to refuse"


def test_unmap(iommufd: Iommufd, ioctl: FakeIoctl) -> None:
    def unmap(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        linux_iommufd.IOAS_UNMAP.pack_into(argument, 0, 24, IOAS, 0, 2 * PAGE)

    ioctl.answers[linux_iommufd.IOMMU_IOAS_UNMAP] = unmap
    dma = IoasDma(iommufd, IOAS)
    assert dma.unmap(0x5000, PAGE) == 2 * PAGE
    assert dma.unmap(0, 0, iommu.VFIO_DMA_UNMAP_FLAG_ALL) == 2 * PAGE
    places = [linux_iommufd.IOAS_UNMAP.unpack_from(given)[2:] for _, given in ioctl.asked if isinstance(given, bytes)]
    assert places == [(0x5000, PAGE), (0, EVERYTHING)]
    for flags, size in ((iommu.VFIO_DMA_UNMAP_FLAG_ALL, PAGE), (iommu.VFIO_DMA_UNMAP_FLAG_VADDR, PAGE), (8, PAGE)):
        with pytest.raises(OSError, match="nothing like the flags") as raised:
            dma.unmap(0x5000, size, flags)
        assert raised.value.errno == errno.EOPNOTSUPP


def test_a_device_file_is_bound_and_attached(ioctl: FakeIoctl) -> None:
    def bind(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        assert vfio.BIND_IOMMUFD.unpack_from(argument) == (16, 0, 55, 0)
        vfio.BIND_IOMMUFD.pack_into(argument, 0, 16, 0, 55, 9)

    def attach(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        assert vfio.ATTACH_IOMMUFD_PT.unpack_from(argument) == (12, 0, IOAS)
        vfio.ATTACH_IOMMUFD_PT.pack_into(argument, 0, 12, 0, 4)

    ioctl.answers |= {
        vfio.VFIO_DEVICE_BIND_IOMMUFD: bind,
        vfio.VFIO_DEVICE_ATTACH_IOMMUFD_PT: attach,
        vfio.VFIO_DEVICE_DETACH_IOMMUFD_PT: lambda _: 0,
    }
    file = DeviceFile(ioctl.descriptor())
    assert file.bind(55) == 9
    assert file.attach(IOAS) == 4
    file.detach()
    given = ioctl.asked[-1][1]
    assert isinstance(given, bytes)
    assert vfio.DETACH_IOMMUFD_PT.unpack_from(given) == (8, 0)
    file.close()
