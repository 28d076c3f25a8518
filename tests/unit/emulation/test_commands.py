# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command that is no DMA and no interrupt: replies to the byte, and errnos."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.info_capabilities import REGION, SparseMmap, parse_capabilities
from tests.unit.emulation import scratch_model as scratch

if TYPE_CHECKING:
    from struct import Struct

    from tests.unit.emulation.client import Client
    from tests.unit.emulation.scratch_model import ScratchModel


def test_version_reply_is_what_qemu_accepts(fresh: Client) -> None:
    reply = fresh.version()
    assert user.HEADER.size + len(reply.payload) <= 214
    assert user.VERSION.unpack_from(reply.payload) == (0, 0)
    assert reply.payload[4:] == b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}}\0'


@pytest.mark.parametrize(("theirs", "agreed"), [(0, 0), (1, 1), (7, 1)])
def test_minor_version_is_the_lesser_one(fresh: Client, theirs: int, agreed: int) -> None:
    reply = fresh.call(user.VFIO_USER_VERSION, user.VERSION.pack(0, theirs))
    assert user.VERSION.unpack_from(reply.payload) == (0, agreed)


def test_another_major_version_is_answered_and_ends_the_connection(fresh: Client) -> None:
    assert fresh.call(user.VFIO_USER_VERSION, user.VERSION.pack(1, 0)).error == "EINVAL"
    assert fresh.at_end()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\0{}",
        b"\0\0\0\0{\0",
        b"\0\0\0\0[]\0",
        b'\0\0\0\0{"capabilities":3}\0',
        b'\0\0\0\0{"capabilities":{"max_msg_fds":true}}\0',
        b'\0\0\0\0{"capabilities":{"max_data_xfer_size":0}}\0',
        b"\0\0\0\0\xff\xfe\0",
        b"\0\0\0\0" + b"[" * 100_000 + b"\0",
    ],
)
def test_malformed_version_is_einval_and_may_be_said_better(fresh: Client, payload: bytes) -> None:
    assert fresh.call(user.VFIO_USER_VERSION, payload).error == "EINVAL"
    fresh.version()


@pytest.mark.parametrize("command", [n for n in user.COMMAND_NAMES if n != user.VFIO_USER_VERSION])
def test_version_comes_first(fresh: Client, command: int) -> None:
    assert fresh.call(command, bytes(64)).error == "EINVAL"


def test_version_comes_once(client: Client) -> None:
    assert client.call(user.VFIO_USER_VERSION, user.VERSION.pack(0, 0)).error == "EINVAL"


@pytest.mark.parametrize(
    "command",
    [
        user.VFIO_USER_DMA_READ,
        user.VFIO_USER_DMA_WRITE,
        user.VFIO_USER_DIRTY_PAGES,
        user.VFIO_USER_DEVICE_FEATURE,
        user.VFIO_USER_MIG_DATA_READ,
        user.VFIO_USER_MIG_DATA_WRITE,
        0,
        19,
        0xFFFF,
    ],
)
def test_what_is_not_served_is_einval(client: Client, command: int) -> None:
    assert client.call(command, bytes(64)).error == "EINVAL"
    assert client.read(scratch.REGISTERS, 0, 1) == b"\0"


@pytest.mark.parametrize(
    ("command", "size"),
    [
        (user.VFIO_USER_DMA_MAP, 32),
        (user.VFIO_USER_DMA_UNMAP, 24),
        (user.VFIO_USER_DEVICE_GET_INFO, 16),
        (user.VFIO_USER_DEVICE_GET_REGION_INFO, 32),
        (user.VFIO_USER_DEVICE_GET_REGION_IO_FDS, 16),
        (user.VFIO_USER_DEVICE_GET_IRQ_INFO, 16),
        (user.VFIO_USER_DEVICE_SET_IRQS, 20),
        (user.VFIO_USER_REGION_READ, 16),
        (user.VFIO_USER_REGION_WRITE, 16),
        (user.VFIO_USER_REGION_WRITE_MULTI, 8),
    ],
)
def test_a_payload_one_byte_short_is_einval(client: Client, command: int, size: int) -> None:
    short = (size.to_bytes(4, "little") + bytes(size))[: size - 1]
    assert client.call(command, short).error == "EINVAL"
    assert client.read(scratch.REGISTERS, 0, 1) == b"\0"


@pytest.mark.parametrize(
    ("command", "layout"),
    [
        (user.VFIO_USER_DEVICE_GET_INFO, vfio.DEVICE_INFO),
        (user.VFIO_USER_DEVICE_GET_REGION_INFO, vfio.REGION_INFO),
        (user.VFIO_USER_DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO),
        (user.VFIO_USER_DEVICE_SET_IRQS, vfio.IRQ_SET),
        (user.VFIO_USER_DMA_MAP, user.DMA_MAP),
        (user.VFIO_USER_DMA_UNMAP, user.DMA_UNMAP),
        (user.VFIO_USER_DEVICE_GET_REGION_IO_FDS, user.REGION_IO_FDS),
    ],
)
def test_argsz_less_than_the_structure_is_einval(client: Client, command: int, layout: Struct) -> None:
    size = layout.size
    assert client.call(command, (size - 1).to_bytes(4, "little") + bytes(size - 4)).error == "EINVAL"


def test_device_info(client: Client) -> None:
    reply = client.call(user.VFIO_USER_DEVICE_GET_INFO, vfio.DEVICE_INFO.pack(100, 0, 0, 0))
    assert vfio.DEVICE_INFO.unpack(reply.payload) == (16, 3, 9, 3)


def _region_info(client: Client, index: int, argsz: int) -> tuple[tuple[int, ...], bytes, tuple[int, ...]]:
    reply = client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, vfio.REGION_INFO.pack(argsz, 0, index, 0, 0, 0))
    assert not reply.error
    return vfio.REGION_INFO.unpack_from(reply.payload), reply.payload, reply.descriptors


def test_region_info_of_trapped_and_absent_regions(client: Client) -> None:
    info, payload, descriptors = _region_info(client, scratch.REGISTERS, 32)
    assert (info, len(payload), descriptors) == ((32, 3, scratch.REGISTERS, 0, 0x40, 0), 32, ())
    assert _region_info(client, 8, 4096)[0] == (32, 3, 8, 0, 0, 0)
    beyond = vfio.REGION_INFO.pack(32, 0, 9, 0, 0, 0)
    assert client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, beyond).error == "EINVAL"


def test_sparse_mmap_is_negotiated_by_argsz_and_its_memory_is_shared(client: Client, model: ScratchModel) -> None:
    info, payload, descriptors = _region_info(client, scratch.MEMORY, 32)
    assert info == (64, 7, scratch.MEMORY, 0, 0x3000, 0)
    assert (len(payload), descriptors) == (32, ())

    info, payload, descriptors = _region_info(client, scratch.MEMORY, info[0])
    assert info == (64, 15, scratch.MEMORY, 32, 0x3000, 0)
    assert parse_capabilities(REGION, payload, 32) == (SparseMmap(((scratch.TRAPPED, scratch.MAPPABLE),)),)
    (descriptor,) = descriptors
    with mmap.mmap(descriptor, scratch.MAPPABLE, offset=scratch.TRAPPED) as area:
        area[:5] = b"hello"
    os.close(descriptor)
    assert model.memory.memory[scratch.TRAPPED : scratch.TRAPPED + 5] == b"hello"
    assert client.read(scratch.MEMORY, scratch.TRAPPED, 5) == b"hello"


def test_a_region_that_is_mappable_as_a_whole_has_no_capabilities(client: Client) -> None:
    info, payload, descriptors = _region_info(client, scratch.WHOLE_MEMORY, 32)
    assert info == (32, 7, scratch.WHOLE_MEMORY, 0, 0x1000, 0)
    assert len(payload) == 32
    assert len(descriptors) == 1
    os.close(descriptors[0])


def test_irq_info(client: Client) -> None:
    for index, expected in enumerate([(16, 7, 0, 1), (16, 9, 1, 4), (16, 1, 2, 4)]):
        reply = client.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO.pack(16, 0, index, 0))
        assert vfio.IRQ_INFO.unpack(reply.payload) == expected
    assert client.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO.pack(16, 0, 3, 0)).error == "EINVAL"


def test_no_region_has_io_descriptors(client: Client) -> None:
    reply = client.call(user.VFIO_USER_DEVICE_GET_REGION_IO_FDS, user.REGION_IO_FDS.pack(16, 0, 8, 0))
    assert (user.REGION_IO_FDS.unpack(reply.payload), reply.descriptors) == ((16, 0, 8, 0), ())
    for flags, index, count in ((1, 0, 0), (0, 9, 0), (0, 0, 1)):
        request = user.REGION_IO_FDS.pack(16, flags, index, count)
        assert client.call(user.VFIO_USER_DEVICE_GET_REGION_IO_FDS, request).error == "EINVAL"


def test_reads_and_writes_reach_the_last_byte_and_not_the_next(client: Client) -> None:
    client.write(scratch.MEMORY, 0x2FFF, b"\x5a")
    assert client.read(scratch.MEMORY, 0x2FFF, 1) == b"\x5a"
    assert client.read(scratch.MEMORY, 0x2FFE, 2) == b"\0\x5a"
    for offset, count in ((0x2FFF, 2), (0x3000, 1), (1 << 63, 8), ((1 << 64) - 1, 1)):
        access = user.REGION_ACCESS.pack(offset, scratch.MEMORY, count)
        assert client.call(user.VFIO_USER_REGION_READ, access).error == "EINVAL"
        assert client.call(user.VFIO_USER_REGION_WRITE, access + bytes(count)).error == "EINVAL"


def test_empty_accesses_and_large_ones(client: Client) -> None:
    assert client.read(scratch.MEMORY, 0, 0) == b""
    client.write(scratch.MEMORY, 0, b"")
    data = os.urandom(0x3000)
    client.write(scratch.MEMORY, 0, data)
    assert client.read(scratch.MEMORY, 0, len(data)) == data


@pytest.mark.parametrize("count", [1 << 20, (1 << 20) + 1, 0xFFFFFFF0, 0xFFFFFFFF])
def test_a_count_beyond_the_region_is_einval(client: Client, count: int) -> None:
    assert client.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, 0, count)).error == "EINVAL"


def test_a_write_whose_count_is_not_its_data_is_einval(client: Client) -> None:
    for count in (0, 3, 5, 0xFFFFFFFF):
        access = user.REGION_ACCESS.pack(0, 0, count) + b"data"
        assert client.call(user.VFIO_USER_REGION_WRITE, access).error == "EINVAL"
    assert client.read(0, 0, 4) == bytes(4)


def test_absent_and_read_only_regions(client: Client) -> None:
    for region in (5, 6, 9, 0xFFFFFFFF):
        assert client.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, region, 1)).error == "EINVAL"
    write = user.REGION_ACCESS.pack(0, scratch.READ_ONLY, 1) + b"x"
    assert client.call(user.VFIO_USER_REGION_WRITE, write).error == "EINVAL"


def test_a_models_errno_is_the_reply_and_its_mistakes_are_eio(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    write = user.REGION_ACCESS.pack(0, scratch.BROKEN, 1) + b"x"
    assert client.call(user.VFIO_USER_REGION_WRITE, write).error == "ENOSPC"
    for offset in (0, 1):
        access = user.REGION_ACCESS.pack(offset, scratch.BROKEN, 1)
        assert client.call(user.VFIO_USER_REGION_READ, access).error == "EIO"
    assert client.read(scratch.REGISTERS, 0, 1) == b"\0"
    assert "KeyError: 'a mistake'" in capsys.readouterr().err


def test_posted_writes_have_no_reply_whatever_becomes_of_them(client: Client) -> None:
    client.post(scratch.REGISTERS, 0, b"posted")
    client.post(scratch.REGISTERS, 0x40, b"out of bounds")
    client.send(user.VFIO_USER_DEVICE_GET_INFO, bytes(16), flags=user.NO_REPLY)
    client.send(0x77, flags=user.NO_REPLY)
    assert client.read(scratch.REGISTERS, 0, 6) == b"posted"


def test_many_writes_in_one_message(client: Client) -> None:
    entries = b"".join(
        user.WRITE_MULTI_ENTRY.pack(offset, scratch.REGISTERS, 4, bytes((offset,)) * 8) for offset in (0, 4, 8)
    )
    reply = client.call(user.VFIO_USER_REGION_WRITE_MULTI, user.WRITE_MULTI.pack(3) + entries)
    assert reply.payload == user.WRITE_MULTI.pack(3)
    assert client.read(scratch.REGISTERS, 0, 12) == b"\0\0\0\0\4\4\4\4\x08\x08\x08\x08"


def test_two_hundred_writes_as_qemu_sends_them(client: Client) -> None:
    entries = b"".join(
        user.WRITE_MULTI_ENTRY.pack(number % 16, scratch.REGISTERS, 1, bytes((number,)) + bytes(7))
        for number in range(200)
    )
    payload = user.WRITE_MULTI.pack(200) + entries
    assert user.HEADER.size + len(payload) == 4824
    client.send(user.VFIO_USER_REGION_WRITE_MULTI, payload, flags=user.NO_REPLY)
    assert client.read(scratch.REGISTERS, 0, 16) == bytes([*range(192, 200), *range(184, 192)])


@pytest.mark.parametrize("number", [0, 2, 1 << 63])
def test_a_wrong_number_of_writes_is_einval(client: Client, number: int) -> None:
    entry = user.WRITE_MULTI_ENTRY.pack(0, scratch.REGISTERS, 1, b"x")
    assert client.call(user.VFIO_USER_REGION_WRITE_MULTI, user.WRITE_MULTI.pack(number) + entry).error == "EINVAL"
    too_long = user.WRITE_MULTI_ENTRY.pack(0, scratch.REGISTERS, 9, b"x")
    assert client.call(user.VFIO_USER_REGION_WRITE_MULTI, user.WRITE_MULTI.pack(1) + too_long).error == "EINVAL"
    assert client.read(scratch.REGISTERS, 0, 1) == b"\0"


def test_reset(client: Client, model: ScratchModel) -> None:
    client.write(scratch.REGISTERS, 0, b"value")
    reply = client.call(user.VFIO_USER_DEVICE_RESET)
    assert (reply.error, reply.payload) == ("", b"")
    assert (client.read(scratch.REGISTERS, 0, 5), model.resets) == (bytes(5), 1)
