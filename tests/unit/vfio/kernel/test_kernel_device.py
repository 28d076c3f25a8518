# SPDX-License-Identifier: GPL-2.0-or-later
"""A device by its descriptor: a memfd, whose reads, writes and mappings are real and whose ioctls are ours."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import Call
from passthru.vfio.kernel.device import KernelDevice
from passthru.vfio.kernel.hot_reset import DependentDevice, HotResetInfo, hot_reset, hot_reset_info
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")
REGION = 2
AT = 4 * PAGE
EVENTFD_TRIGGER = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


def region_info(argument: int | bytearray) -> None:
    assert isinstance(argument, bytearray)
    index = vfio.REGION_INFO.unpack_from(argument)[2]
    if index != REGION:
        raise refusal(errno.EINVAL)
    vfio.REGION_INFO.pack_into(argument, 0, 32, 7, index, 0, 2 * PAGE, AT)


@pytest.fixture
def ioctl() -> FakeIoctl:
    return FakeIoctl(
        {
            vfio.VFIO_DEVICE_GET_REGION_INFO: region_info,
            vfio.VFIO_DEVICE_SET_IRQS: lambda _: 0,
            vfio.VFIO_DEVICE_RESET: lambda _: 0,
        }
    )


@pytest.fixture
def device(ioctl: FakeIoctl) -> Iterator[KernelDevice]:
    memory = os.memfd_create("device")
    os.ftruncate(memory, AT + 2 * PAGE)
    device = KernelDevice(ioctl.descriptor(memory))
    yield device
    device.close()


def sent(ioctl: FakeIoctl, number: int) -> list[bytes]:
    """The structures of these calls, without what lies behind their argsz."""
    return [
        given[: int.from_bytes(given[:4], "little")]
        for each, given in ioctl.asked
        if each == number and isinstance(given, bytes)
    ]


def test_reads_writes_and_mappings_are_at_the_regions_place(device: KernelDevice, ioctl: FakeIoctl) -> None:
    assert device.write(REGION, PAGE + 8, b"four") == 4
    assert os.pread(device.fileno(), 4, AT + PAGE + 8) == b"four"
    assert device.read(REGION, PAGE + 6, 8) == b"\0\0four\0\0"
    with device.map(REGION, PAGE, PAGE) as mapped:
        assert mapped[8:12] == b"four"
        mapped[0:2] = b"hi"
    assert device.read(REGION, PAGE, 2) == b"hi"
    assert len(sent(ioctl, vfio.VFIO_DEVICE_GET_REGION_INFO)) == 1, "a region's place is asked for once"


def test_a_read_past_the_end_of_all_is_short(device: KernelDevice) -> None:
    assert device.read(REGION, 2 * PAGE - 2, 8) == bytes(2)


@pytest.mark.parametrize("offset", [-AT - 1, 1 << 63, (1 << 64) - 1])
def test_an_offset_that_no_position_can_tell_is_einval(device: KernelDevice, offset: int) -> None:
    for access in (lambda: device.read(REGION, offset, 4), lambda: device.write(REGION, offset, b"four")):
        with pytest.raises(OSError, match="no offset") as raised:
            access()
        assert raised.value.errno == errno.EINVAL


def test_a_region_that_is_not_there_is_refused_as_its_info_is(device: KernelDevice) -> None:
    with pytest.raises(OSError, match="Invalid") as raised:
        device.read(9, 0, 4)
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_mapping_is_einval(device: KernelDevice, size: int) -> None:
    """Python takes a size of 0 for the whole file."""
    with pytest.raises(OSError, match="Invalid") as raised:
        device.map(REGION, 0, size)
    assert raised.value.errno == errno.EINVAL


def test_a_closed_device_has_no_memory_of_pythons_own(device: KernelDevice) -> None:
    """Python takes a descriptor of -1 for memory without a file."""
    device.region_info(REGION)
    device.close()
    with pytest.raises(OSError, match="descriptor") as raised:
        device.map(REGION, 0, PAGE)
    assert raised.value.errno == errno.EBADF


def test_set_irqs_in_every_form(device: KernelDevice, ioctl: FakeIoctl) -> None:
    device.set_irqs(vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_MASK, 0)
    device.set_irqs(vfio.VFIO_IRQ_SET_DATA_BOOL | vfio.VFIO_IRQ_SET_ACTION_UNMASK, 2, 1, 3, bools=b"\1\0\1")
    device.set_irqs(EVENTFD_TRIGGER, 2, 0, 2, descriptors=[5, -1])
    device.set_irqs(EVENTFD_TRIGGER, 1, 0, 2)
    device.set_irqs(vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER, 1, 0, 0)
    assert [each.hex(" ", -4) for each in sent(ioctl, vfio.VFIO_DEVICE_SET_IRQS)] == [
        "14000000 09000000 00000000 00000000 01000000",
        "17000000 12000000 02000000 01000000 03000000 010001",
        "1c000000 24000000 02000000 00000000 02000000 05000000 ffffffff",
        "1c000000 24000000 01000000 00000000 02000000 ffffffff ffffffff",
        "14000000 21000000 01000000 00000000 00000000",
    ]


def test_a_feature_comes_back_as_long_as_it_went(device: KernelDevice, ioctl: FakeIoctl) -> None:
    def feature(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        assert argument[:8] == bytes.fromhex("10000000 01000100")
        argument[8:16] = b"\7" + bytes(7)

    ioctl.answers[vfio.VFIO_DEVICE_FEATURE] = feature
    assert device.feature(0x10001, bytes(8)) == b"\7" + bytes(7)


def test_a_call_gives_the_structure_as_it_stands(device: KernelDevice, ioctl: FakeIoctl) -> None:
    device.call(Call.SET_IRQS, vfio.IRQ_SET.pack(20, 0xFFFFFFFF, 99, 1, 2), [7])
    given = next(structure for number, structure in ioctl.asked if number == vfio.VFIO_DEVICE_SET_IRQS)
    assert isinstance(given, bytes)
    assert given[:24].hex(" ", -4) == "14000000 ffffffff 63000000 01000000 02000000 07000000"
    device.reset()
    assert ioctl.asked[-1] == (vfio.VFIO_DEVICE_RESET, 0)


def test_waiting_for_an_eventfd(device: KernelDevice) -> None:
    eventfd = os.eventfd(0, os.EFD_CLOEXEC)
    assert not device.wait_readable(eventfd, 0.0)
    os.eventfd_write(eventfd, 1)
    assert device.wait_readable(eventfd, 5.0)
    os.close(eventfd)


def test_hot_reset_info_is_asked_for_again_with_room_for_all(device: KernelDevice, ioctl: FakeIoctl) -> None:
    def info(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        argsz = vfio.HOT_RESET_INFO.unpack_from(argument)[0]
        vfio.HOT_RESET_INFO.pack_into(argument, 0, argsz, 3, 2)
        if argsz < vfio.HOT_RESET_INFO.size + 2 * vfio.DEPENDENT_DEVICE.size:
            raise refusal(errno.ENOSPC)
        for place, devfn in ((12, 0x28), (20, 0x29)):
            vfio.DEPENDENT_DEVICE.pack_into(argument, place, 7, 0, 1, devfn)

    ioctl.answers[vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO] = info
    ioctl.answers[vfio.VFIO_DEVICE_PCI_HOT_RESET] = lambda _: 0
    assert hot_reset_info(device) == HotResetInfo(
        3, (DependentDevice(7, "0000:01:05.0"), DependentDevice(7, "0000:01:05.1"))
    )
    hot_reset(device, [8, 9])
    assert sent(ioctl, vfio.VFIO_DEVICE_PCI_HOT_RESET)[0].hex(" ", -4) == "14000000 00000000 02000000 08000000 09000000"


def test_hot_reset_info_that_never_has_room_is_told(device: KernelDevice, ioctl: FakeIoctl) -> None:
    def info(argument: int | bytearray) -> None:
        raise refusal(errno.ENOSPC)

    ioctl.answers[vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO] = info
    with pytest.raises(OSError, match="space"):
        hot_reset_info(device)
