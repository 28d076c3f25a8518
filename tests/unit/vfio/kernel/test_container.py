# SPDX-License-Identifier: GPL-2.0-or-later
"""Containers and groups, to the byte; and the memory that a container's devices see."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.buffer import Buffer
from passthru.vfio.device import DmaInfo
from passthru.vfio.info_capabilities import DmaAvailable, IovaRanges
from passthru.vfio.kernel.container import Container
from passthru.vfio.kernel.dma import ContainerDma
from passthru.vfio.kernel.group import Group
from passthru.vfio.transcript import shown
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl, read_memory, refuse, write_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")
CHAIN = bytes.fromhex(
    "0100 0100 38000000 01000000 00000000 0000000000000000 ffffff7f00000000 0300 0100 00000000 05000000"
)


def iommu_info(argument: int | bytearray) -> None:
    """As the kernel: with too little room it tells how much is needed, and no offset."""
    assert isinstance(argument, bytearray)
    argsz = iommu.IOMMU_INFO.unpack_from(argument)[0]
    needed = 24 + len(CHAIN)
    fits = argsz >= needed
    iommu.IOMMU_INFO.pack_into(argument, 0, argsz if fits else needed, 3, 0x1000)
    iommu.IOMMU_INFO_CAPS.pack_into(argument, 16, 24 if fits else 0, 0)
    if fits:
        argument[24:needed] = CHAIN


def unmap(argument: int | bytearray) -> None:
    """One page fewer than was asked for, by which the answer is known."""
    assert isinstance(argument, bytearray)
    argsz, flags, iova, size = iommu.IOMMU_UNMAP.unpack_from(argument)
    iommu.IOMMU_UNMAP.pack_into(argument, 0, argsz, flags, iova, max(0, size - PAGE))


@pytest.fixture
def ioctl() -> FakeIoctl:
    return FakeIoctl(
        {
            vfio.VFIO_CHECK_EXTENSION: lambda argument: int(argument == 3),
            vfio.VFIO_SET_IOMMU: lambda _: 0,
            iommu.VFIO_IOMMU_GET_INFO: iommu_info,
            iommu.VFIO_IOMMU_MAP_DMA: lambda _: 0,
            iommu.VFIO_IOMMU_UNMAP_DMA: unmap,
        }
    )


@pytest.fixture
def container(ioctl: FakeIoctl) -> Iterator[Container]:
    container = Container(ioctl.descriptor())
    yield container
    container.close()


@pytest.fixture
def buffer() -> Iterator[Buffer]:
    buffer = Buffer(4 * PAGE)
    yield buffer
    buffer.close()


def mapped(ioctl: FakeIoctl) -> list[tuple[int, ...]]:
    """What MAP_DMA was given: argsz, flags, address, IOVA, size."""
    return [
        iommu.IOMMU_MAP.unpack_from(given)
        for number, given in ioctl.asked
        if number == iommu.VFIO_IOMMU_MAP_DMA and isinstance(given, bytes)
    ]


def test_numbers_are_given_as_numbers(container: Container, ioctl: FakeIoctl) -> None:
    assert container.check_extension(3) == 1
    assert container.check_extension(1) == 0
    container.set_iommu(3)
    assert ioctl.asked == [
        (vfio.VFIO_CHECK_EXTENSION, 3),
        (vfio.VFIO_CHECK_EXTENSION, 1),
        (vfio.VFIO_SET_IOMMU, 3),
    ]


def test_the_iommus_info_has_its_chain(container: Container) -> None:
    found = container.iommu_info()
    assert (found.flags, found.page_sizes) == (3, 0x1000)
    assert found.capabilities == (IovaRanges(((0, 0x7FFFFFFF),)), DmaAvailable(5))
    assert ContainerDma(container).info() == DmaInfo(0x1000, ((0, 0x7FFFFFFF),), 5, found.capabilities)


def test_an_iommu_without_capabilities(container: Container, ioctl: FakeIoctl) -> None:
    def old(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        iommu.IOMMU_INFO.pack_into(argument, 0, 24, 1, 0x1000)

    ioctl.answers[iommu.VFIO_IOMMU_GET_INFO] = old
    assert ContainerDma(container).info() == DmaInfo(0x1000)


def test_memory_is_mapped_by_where_this_process_has_it(container: Container, ioctl: FakeIoctl, buffer: Buffer) -> None:
    dma = ContainerDma(container)
    dma.map(0x10000, PAGE, buffer.descriptor, PAGE, iommu.VFIO_DMA_MAP_FLAG_READ)
    dma.map(0x20000, 2 * PAGE, buffer.descriptor, 2 * PAGE)
    first, second = mapped(ioctl)
    assert first == (32, 1, first[2], 0x10000, PAGE)
    assert second == (32, 3, first[2] + PAGE, 0x20000, 2 * PAGE), "the file is mapped once"
    buffer.memory[PAGE : PAGE + 4] = b"seen"
    assert read_memory(first[2], 4) == b"seen"
    dma.close()


def test_memory_is_let_go_once_no_device_sees_it(container: Container, ioctl: FakeIoctl, buffer: Buffer) -> None:
    def places() -> int:
        with open("/proc/self/maps", encoding="ascii") as maps:  # noqa: PTH123
            return sum("memfd:dma" in line for line in maps)

    before = places()
    dma = ContainerDma(container)
    dma.map(0x10000, PAGE, buffer.descriptor)
    dma.map(0x20000, PAGE, buffer.descriptor)
    dma.unmap(0x10000, PAGE)
    assert places() == before + 1
    ioctl.answers[iommu.VFIO_IOMMU_UNMAP_DMA] = refuse(errno.EINVAL)
    with pytest.raises(OSError, match="Invalid"):
        dma.unmap(0x20000, PAGE)
    assert places() == before + 1, "what was refused is still mapped"
    ioctl.answers[iommu.VFIO_IOMMU_UNMAP_DMA] = unmap
    dma.unmap(0, 0, iommu.VFIO_DMA_UNMAP_FLAG_ALL)
    assert places() == before
    dma.map(0x10000, PAGE, buffer.descriptor)
    dma.close()
    assert places() == before


def test_unmap_tells_what_the_kernel_tells(container: Container) -> None:
    dma = ContainerDma(container)
    assert dma.unmap(0x10000, 3 * PAGE) == 2 * PAGE
    assert dma.unmap(0x10000, 0) == 0


def test_dirty_bitmaps_are_written_where_the_structure_says(container: Container, ioctl: FakeIoctl) -> None:
    def dirty(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        argsz, flags = iommu.DIRTY_PAGES.unpack_from(argument)
        if flags == iommu.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
            page, size, address = iommu.BITMAP.unpack_from(argument, 24)
            assert (argsz, page, size) == (48, 4096, 16)
            write_memory(address, b"\1" + bytes(14) + b"\x80")

    def unmap_dirty(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        assert iommu.IOMMU_UNMAP.unpack_from(argument) == (48, 1, 0, 4096 * 128)
        page, size, address = iommu.BITMAP.unpack_from(argument, 24)
        assert (page, size) == (4096, 16)
        write_memory(address, b"\2" * 16)

    ioctl.answers[iommu.VFIO_IOMMU_DIRTY_PAGES] = dirty
    ioctl.answers[iommu.VFIO_IOMMU_UNMAP_DMA] = unmap_dirty
    container.track_dirty(True)
    assert container.dirty_bitmap(0, 4096 * 128, 4096) == b"\1" + bytes(14) + b"\x80"
    assert container.unmap_with_bitmap(0, 4096 * 128, 4096) == (4096 * 128, b"\2" * 16)
    container.track_dirty(False)
    flags = [given[4] for number, given in ioctl.asked if number == iommu.VFIO_IOMMU_DIRTY_PAGES and given]  # type: ignore[index]
    assert flags == [1, 4, 2]


def test_a_group(ioctl: FakeIoctl) -> None:
    def status(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        vfio.GROUP_STATUS.pack_into(argument, 0, 8, vfio.VFIO_GROUP_FLAGS_VIABLE)

    found = os.memfd_create("the device's")
    ioctl.answers |= {
        vfio.VFIO_GROUP_GET_STATUS: status,
        vfio.VFIO_GROUP_SET_CONTAINER: lambda _: 0,
        vfio.VFIO_GROUP_UNSET_CONTAINER: refuse(errno.EBUSY),
        vfio.VFIO_GROUP_GET_DEVICE_FD: lambda _: found,
    }
    group = Group(ioctl.descriptor())
    assert group.status() == vfio.VFIO_GROUP_FLAGS_VIABLE
    group.set_container(77)
    device = group.device("0000:00:05.0")
    assert device.fileno() == found
    assert ioctl.asked[-2:] == [
        (vfio.VFIO_GROUP_SET_CONTAINER, (77).to_bytes(4, "little")),
        (vfio.VFIO_GROUP_GET_DEVICE_FD, b"0000:00:05.0\0"),
    ]
    with pytest.raises(OSError, match="busy"):
        group.unset_container()
    assert group.descriptor.transcript.lines(last=3) == [
        "VFIO_GROUP_SET_CONTAINER 0x4d -> 0",
        f"VFIO_GROUP_GET_DEVICE_FD 0000:00:05.0 -> {shown(found)}",
        "VFIO_GROUP_UNSET_CONTAINER 0 -> EBUSY",
    ]
    assert device.transcript is group.descriptor.transcript
    device.close()
    group.close()
