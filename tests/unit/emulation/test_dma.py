# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's memory: shared RAM, messages, both at once, and what is not there."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.vfio_user import exchange
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import SECONDS, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.emulation.client import Client, Received
    from tests.unit.emulation.scratch_model import ScratchModel

PAGE = 4096
READ, WRITE = 1, 2
UNMAP_ALL = 2
RAM_SIZE = 16 * PAGE


@pytest.fixture
def ram(nothing_stays_open: None) -> Iterator[int]:
    """A memfd as of memory-backend-memfd; what is at each page is its number."""
    descriptor = os.memfd_create("ram")
    os.write(descriptor, b"".join(bytes((page,)) * PAGE for page in range(16)))
    yield descriptor
    os.close(descriptor)


def _copy(client: Client, source: int, target: int, size: int) -> None:
    values = b"".join(value.to_bytes(8, "little") for value in (source, target, size))
    client.write(scratch.REGISTERS, scratch.COPY, values)


def _status(client: Client) -> int:
    return client.read(scratch.REGISTERS, scratch.STATUS, 1)[0]


def test_shared_ram_is_read_and_written(client: Client, ram: int) -> None:
    assert client.map(0x10000, 8 * PAGE, descriptors=[ram], offset=2 * PAGE) == ""
    _copy(client, 0x10000 + PAGE - 1, 0x10000 + 3 * PAGE, PAGE + 2)
    assert _status(client) == 0
    assert os.pread(ram, PAGE + 2, 5 * PAGE) == b"\2" + b"\3" * PAGE + b"\4"


def test_dma_crosses_mappings_and_ends_at_their_last_byte(client: Client, ram: int) -> None:
    client.map(PAGE, PAGE, descriptors=[ram], offset=PAGE)
    client.map(0, PAGE, descriptors=[ram], offset=7 * PAGE)
    _copy(client, PAGE - 1, 0, 2)
    assert _status(client) == 0
    assert os.pread(ram, 2, 7 * PAGE) == b"\7\1"
    _copy(client, 2 * PAGE - 1, 0, 1)
    assert _status(client) == 0
    _copy(client, 2 * PAGE - 1, 0, 2)
    assert _status(client) == errno.EFAULT
    _copy(client, 0, 2 * PAGE - 1, 2)
    assert _status(client) == errno.EFAULT
    assert os.pread(ram, 1, 2 * PAGE - 1) == b"\1"  # of a write that does not fit, nothing is written


def test_permissions_of_mappings(client: Client, ram: int) -> None:
    client.map(0, PAGE, flags=READ, descriptors=[ram])
    client.map(PAGE, PAGE, flags=WRITE, descriptors=[ram], offset=PAGE)
    _copy(client, 0, PAGE, 1)
    assert (_status(client), os.pread(ram, 1, PAGE)) == (0, b"\0")
    _copy(client, 0, 1, 1)
    assert _status(client) == errno.EACCES
    _copy(client, PAGE, PAGE, 1)
    assert _status(client) == errno.EACCES


@pytest.mark.parametrize(
    ("iova", "size", "error"),
    [
        (0x1000, 0x1000, "EEXIST"),
        (0x0, 0x1001, "EEXIST"),
        (0x2FFF, 0x1000, "EEXIST"),
        (0x1800, 0x10, "EEXIST"),
        (0x0, 0x10000, "EEXIST"),
        (0x0, 0x1000, ""),
        (0x3000, 0x1000, ""),
        (0x5000, 0x0, "EINVAL"),
        ((1 << 64) - 0x1000, 0x1000, ""),
        ((1 << 64) - 0x1000, 0x1001, "EINVAL"),
        ((1 << 64) - 1, (1 << 64) - 1, "EINVAL"),
    ],
)
def test_ranges_that_can_be_mapped(client: Client, iova: int, size: int, error: str) -> None:
    assert client.map(0x1000, 0x2000) == ""
    assert client.map(iova, size) == error


@pytest.mark.parametrize("flags", [0, 4, 0x10, 0x13])
def test_flags_that_no_mapping_has(client: Client, flags: int) -> None:
    assert client.map(0, PAGE, flags=flags) == "EINVAL"


@pytest.mark.parametrize("flags", [0x7, 0xB, 0xF])
def test_flags_of_the_newer_specification(client: Client, flags: int) -> None:
    assert client.map(0, PAGE, flags=flags) == ""


def test_what_cannot_be_mmapped_is_an_errno_and_no_mapping(client: Client, ram: int) -> None:
    assert client.map(0, RAM_SIZE + PAGE, descriptors=[ram]) == "EINVAL"  # beyond the end: a touch would be SIGBUS
    assert client.map(0, PAGE, descriptors=[ram], offset=RAM_SIZE) == "EINVAL"
    assert client.map(0, PAGE, descriptors=[ram], offset=1) == "EINVAL"
    assert client.map(0, PAGE, descriptors=[ram], offset=1 << 63) == "EINVAL"
    assert client.map(0, 1 << 63, descriptors=[ram]) == "EINVAL"
    assert client.map(0, PAGE, descriptors=[ram, ram]) == "EINVAL"
    readable, writable = os.pipe()
    assert client.map(0, PAGE, descriptors=[readable]) in ("ENODEV", "EACCES", "EINVAL")
    os.close(readable)
    os.close(writable)
    only = os.open(f"/proc/self/fd/{ram}", os.O_RDONLY)
    assert client.map(0, PAGE, descriptors=[only]) == "EACCES"
    os.close(only)
    assert client.map(0, PAGE, descriptors=[ram]) == ""


def test_unmapping_is_exact(client: Client, ram: int) -> None:
    client.map(0x1000, 2 * PAGE, descriptors=[ram])
    for iova, size in ((0x1000, PAGE), (0x2000, PAGE), (0x0, 0x3000), (0x3000, 0x1000), (0x1000, 0)):
        assert client.unmap(iova, size) == "ENOENT"
    assert client.unmap(0x1000, 2 * PAGE) == ""
    assert client.unmap(0x1000, 2 * PAGE) == "ENOENT"
    _copy(client, 0x1000, 0x1000, 1)
    assert _status(client) == errno.EFAULT
    assert client.map(0x1000, PAGE) == ""


def test_unmapping_all(client: Client, ram: int) -> None:
    for page in range(10):
        client.map(page * PAGE, PAGE, descriptors=[ram])
    assert client.unmap(0, PAGE, UNMAP_ALL) == "EINVAL"
    assert client.unmap(PAGE, 0, UNMAP_ALL) == "EINVAL"
    assert client.unmap(0, 0, UNMAP_ALL) == ""
    assert client.unmap(0, 0, UNMAP_ALL) == ""
    assert client.map(0, 10 * PAGE) == ""


def test_dirty_pages_are_not_tracked(client: Client) -> None:
    client.map(0, PAGE)
    assert client.unmap(0, PAGE, 1) == "ENOTSUP"
    assert client.unmap(0, PAGE, 4) == "EINVAL"
    assert client.unmap(0, PAGE) == ""


def test_mappings_end_with_their_client(model: ScratchModel, ram: int) -> None:
    with serving(model) as client:
        client.version()
        assert client.map(0, PAGE, descriptors=[ram]) == ""
    with serving(model) as client:
        client.version()
        assert client.map(0, PAGE) == ""


def _answer(client: Client, request: Received, payload: bytes) -> None:
    client.connection.sendall(user.reply(request.message_id, request.command, payload))


def _expect(client: Client, command: int, address: int, count: int, data: bytes = b"") -> Received:
    request = client.receive()
    assert (request.command, request.flags) == (command, 0)
    assert request.payload == user.DMA_ACCESS.pack(address, count) + data
    return request


def test_dma_by_messages_waits_until_the_access_is_answered(client: Client) -> None:
    client.map(0x1000, PAGE)
    _copy(client, 0x1000, 0x1100, 4)  # its reply comes first
    probe = _expect(client, user.VFIO_USER_DMA_WRITE, 0x1000, 0)
    _answer(client, probe, probe.payload)
    request = _expect(client, user.VFIO_USER_DMA_READ, 0x1000, 4)
    assert _status(client) == 0xFF  # the vCPU is served while its VMM owes an answer
    client.post(scratch.REGISTERS, 0, b"x")
    _answer(client, request, request.payload + b"data")
    request = _expect(client, user.VFIO_USER_DMA_WRITE, 0x1100, 4, b"data")
    _answer(client, request, request.payload[:16])
    assert _status(client) == 0


def test_dma_by_messages_keeps_to_the_clients_largest_transfer(client: Client) -> None:
    client.map(0, 1 << 20)
    _copy(client, 0, 0x8000, 4096 + 1)
    probe = _expect(client, user.VFIO_USER_DMA_WRITE, 0, 0)
    _answer(client, probe, probe.payload)
    for address, count in ((0, 4096), (4096, 1)):
        request = _expect(client, user.VFIO_USER_DMA_READ, address, count)
        _answer(client, request, request.payload + bytes((count & 0xFF,)) * count)
    request = _expect(client, user.VFIO_USER_DMA_WRITE, 0x8000, 4096, bytes(4096))
    _answer(client, request, request.payload[:16])
    request = _expect(client, user.VFIO_USER_DMA_WRITE, 0x9000, 1, b"\1")
    _answer(client, request, request.payload[:16])
    assert _status(client) == 0


def test_qemu_before_11_1_puts_data_4_bytes_early(client: Client) -> None:
    client.map(0, PAGE)
    _copy(client, 0x10, 0x20, 8)
    probe = _expect(client, user.VFIO_USER_DMA_WRITE, 0x10, 0)
    _answer(client, probe, b"")  # a bare header
    request = _expect(client, user.VFIO_USER_DMA_READ, 0x10, 8)
    _answer(client, request, user.DMA_ACCESS_SHIFTED.pack(0x10, 8) + b"\0\0\0\0wxyz" + bytes(4))
    request = client.receive()
    assert request.payload == user.DMA_ACCESS_SHIFTED.pack(0x20, 8) + b"\0\0\0\0wxyz" + bytes(4)
    _answer(client, request, b"")
    assert _status(client) == 0


def test_ram_and_messages_in_one_transfer(client: Client, ram: int) -> None:
    client.map(0, PAGE, descriptors=[ram], offset=9 * PAGE)
    client.map(PAGE, PAGE)
    _copy(client, PAGE - 2, 0, 4)
    probe = _expect(client, user.VFIO_USER_DMA_WRITE, PAGE, 0)
    _answer(client, probe, probe.payload)
    request = _expect(client, user.VFIO_USER_DMA_READ, PAGE, 2)
    _answer(client, request, request.payload + b"ab")
    assert _status(client) == 0
    assert os.pread(ram, 4, 9 * PAGE) == b"\x09\x09ab"


@pytest.mark.parametrize("error", [errno.ENODEV, errno.E2BIG])
def test_the_clients_errno_reaches_the_model(client: Client, error: int) -> None:
    client.map(0, PAGE)
    _copy(client, 0, 0, 1)
    for _ in range(2):  # a client that minds the empty write is asked in the specification's way
        request = client.receive()
        client.connection.sendall(user.error_reply(request.message_id, request.command, error))
    assert _status(client) == error


def test_a_reply_that_is_short_is_an_error_of_the_model_only(client: Client) -> None:
    client.map(0, PAGE)
    _copy(client, 0, 0, 4)
    probe = client.receive()
    _answer(client, probe, probe.payload)
    request = client.receive()
    _answer(client, request, request.payload + b"abc")
    assert _status(client) == errno.EIO


def test_waiting_within_an_access_is_refused(client: Client, ram: int) -> None:
    client.map(0, PAGE, descriptors=[ram])
    client.map(PAGE, PAGE)
    client.write(scratch.REGISTERS, scratch.COPY, PAGE.to_bytes(8, "little") + bytes(8) + b"\1" + bytes(6))
    client.write(scratch.REGISTERS, scratch.IMPATIENT, b"\1")
    assert _status(client) == errno.EDEADLK
    client.write(scratch.REGISTERS, scratch.COPY, bytes(8))
    client.write(scratch.REGISTERS, scratch.IMPATIENT, b"\1")
    assert _status(client) == 0  # shared RAM needs no waiting


def test_a_client_that_never_answers_costs_the_transfer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DMA_REPLY_SECONDS", 0.05)
    client.map(0, PAGE)
    _copy(client, 0, 0, 4)
    request = client.receive()
    deadline = time.monotonic() + SECONDS
    while (status := _status(client)) == 0xFF and time.monotonic() < deadline:
        continue
    assert status == errno.ETIMEDOUT
    _answer(client, request, request.payload)  # too late, and ignored
    assert _status(client) == errno.ETIMEDOUT


def test_a_client_that_leaves_while_it_is_asked(model: ScratchModel) -> None:
    with serving(model) as client:
        client.version()
        client.map(0, PAGE)
        _copy(client, 0, 0, 4)
        client.receive()
    with serving(model) as client:
        client.version()
        assert _status(client) == errno.ECONNRESET


def test_commands_in_one_chunk_with_what_defers_are_served_while_it_waits(client: Client) -> None:
    client.map(0, PAGE)
    values = bytes(16) + (4).to_bytes(8, "little")
    copy = user.REGION_ACCESS.pack(scratch.COPY, 0, len(values)) + values
    status = user.REGION_ACCESS.pack(scratch.STATUS, 0, 1)
    client.connection.settimeout(SECONDS)
    client.connection.sendall(
        user.command(1, user.VFIO_USER_REGION_WRITE, copy, user.NO_REPLY)
        + user.command(2, user.VFIO_USER_REGION_READ, status)
        + user.command(3, user.VFIO_USER_DEVICE_RESET)[:10]
    )
    probe = client.receive()
    assert (client.receive().message_id, probe.command) == (2, user.VFIO_USER_DMA_WRITE)
    client.connection.sendall(user.command(3, user.VFIO_USER_DEVICE_RESET)[10:])
    assert client.receive().message_id == 3
    client.connection.sendall(user.error_reply(probe.message_id, probe.command, errno.EPERM))
    request = client.receive()
    client.connection.sendall(user.error_reply(request.message_id, request.command, errno.EPERM))
    assert _status(client) == errno.EPERM
