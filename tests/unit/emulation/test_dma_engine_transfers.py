# SPDX-License-Identifier: GPL-2.0-or-later
"""The dma-engine's transfers: by shared RAM and by messages, in both directions, and all that can go wrong."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models.dma_engine import DmaEngine
from passthru.emulation.models.dma_engine.transfer import BURST
from passthru.emulation.models.outcome import Result
from passthru.vfio import user_messages as user
from tests.unit.emulation.client import serving
from tests.unit.emulation.engine import (
    BAR,
    BUFFER,
    CAUSES,
    COMMAND,
    DESTINATION,
    DONE_CAUSE,
    FAILED_CAUSE,
    FAULT,
    INTERRUPT,
    PAGE,
    RESETS,
    RESULT,
    SOURCE,
    START,
    TO_RAM,
    TRANSFERRED,
    Driver,
    engine,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.emulation.client import Client, Received

RAM = 0x100000  # where the guest's memory is for the device
RAM_SIZE = 256 << 10
READ, WRITE = 1, 2


@pytest.fixture
def ram(nothing_stays_open: None) -> Iterator[int]:
    """A memfd as of memory-backend-memfd, with something else in each word."""
    descriptor = os.memfd_create("ram")
    os.write(descriptor, b"".join(word.to_bytes(4, "little") for word in range(RAM_SIZE // 4)))
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def driver(ram: int) -> Iterator[Driver]:
    """The device with bus mastering on and `ram` mapped at RAM."""
    with engine() as made:
        made.master()
        assert made.client.map(RAM, RAM_SIZE, descriptors=[ram]) == ""
        yield made


@pytest.mark.parametrize("size", [1, 3, PAGE, PAGE + 1, 3 * PAGE + 5, BUFFER])
@pytest.mark.parametrize("offset", [0, 1, PAGE - 1])
def test_to_the_device(driver: Driver, ram: int, size: int, offset: int) -> None:
    at = min(37, BUFFER - size)
    driver.client.write(BAR, BUFFER, b"\xee" * BUFFER)
    assert driver.to_device(RAM + offset, size, at=at) == Result.DONE
    assert driver.get(TRANSFERRED, 8) == size
    expected = bytearray(b"\xee" * BUFFER)
    expected[at : at + size] = os.pread(ram, size, offset)
    assert driver.client.read(BAR, BUFFER, BUFFER) == expected


@pytest.mark.parametrize("size", [1, 3, PAGE, PAGE + 1, 3 * PAGE + 5, BUFFER])
@pytest.mark.parametrize("offset", [0, 1, PAGE - 1])
def test_to_ram(driver: Driver, ram: int, size: int, offset: int) -> None:
    data = bytes(number * 7 % 251 for number in range(BUFFER))
    driver.client.write(BAR, BUFFER, data)
    expected = bytearray(os.pread(ram, RAM_SIZE, 0))
    at = min(37, BUFFER - size)
    expected[offset : offset + size] = data[at : at + size]
    assert driver.to_ram(RAM + offset, size, at=at) == Result.DONE
    assert driver.get(TRANSFERRED, 8) == size
    assert os.pread(ram, RAM_SIZE, 0) == expected


def test_addresses_count_to_the_last_bit(driver: Driver, ram: int) -> None:
    top = (1 << 64) - PAGE
    driver.client.map(top, PAGE, descriptors=[ram], offset=PAGE)
    assert driver.to_device(top + PAGE - 4, 4) == Result.DONE
    assert driver.client.read(BAR, BUFFER, 4) == os.pread(ram, 4, 2 * PAGE - 4)
    assert driver.to_device(top + PAGE - 4, 5) == Result.UNMAPPED


@pytest.mark.parametrize("way", [0, TO_RAM])
@pytest.mark.parametrize("at", [0, RAM - 4, RAM + RAM_SIZE - 4, RAM + RAM_SIZE, 1 << 44, (1 << 64) - 8])
def test_an_unmapped_address_is_told_and_changes_nothing(driver: Driver, ram: int, way: int, at: int) -> None:
    before = os.pread(ram, RAM_SIZE, 0)
    driver.client.write(BAR, BUFFER, b"\xee" * 64)
    result = driver.to_ram(at, 8, command=INTERRUPT) if way else driver.to_device(at, 8, command=INTERRUPT)
    assert result == Result.UNMAPPED
    assert (driver.get(FAULT, 8), driver.get(TRANSFERRED, 8)) == (at, 0)
    assert driver.get(CAUSES) == FAILED_CAUSE
    assert os.pread(ram, RAM_SIZE, 0) == before
    assert driver.client.read(BAR, BUFFER, 64) == b"\xee" * 64
    assert driver.to_device(RAM, 8) == Result.DONE
    assert driver.get(FAULT, 8) == 0


def test_a_fault_in_a_later_burst_tells_where_and_how_far(nothing_stays_open: None, ram: int) -> None:
    with engine(buffer_kib=1024) as driver:
        driver.master()
        driver.client.map(RAM, BURST + PAGE, descriptors=[ram])
        driver.start(RAM, 1 << 20, BURST + PAGE + 1, 0)
        assert driver.result() == Result.UNMAPPED
        assert (driver.get(TRANSFERRED, 8), driver.get(FAULT, 8)) == (BURST, RAM + BURST)
        driver.start(RAM, 1 << 20, BURST + PAGE, 0)
        assert (driver.result(), driver.get(TRANSFERRED, 8)) == (Result.DONE, BURST + PAGE)


def test_mappings_for_one_direction(driver: Driver, ram: int) -> None:
    driver.client.map(0, PAGE, flags=READ, descriptors=[ram])
    driver.client.map(PAGE, PAGE, flags=WRITE, descriptors=[ram])
    assert driver.to_device(0, 4) == Result.DONE
    assert driver.to_ram(0, 4) == Result.FORBIDDEN
    assert driver.to_ram(PAGE, 4) == Result.DONE
    assert driver.to_device(PAGE, 4) == Result.FORBIDDEN
    assert driver.get(FAULT, 8) == PAGE


def test_unmapped_memory_is_gone(driver: Driver) -> None:
    assert driver.client.unmap(RAM, RAM_SIZE) == ""
    assert driver.to_device(RAM, 4) == Result.UNMAPPED


@pytest.mark.parametrize("way", [0, TO_RAM])
def test_without_bus_mastering_nothing_moves(driver: Driver, ram: int, way: int) -> None:
    before = os.pread(ram, RAM_SIZE, 0)
    driver.client.write(BAR, BUFFER, b"\xee" * 64)
    driver.master(False)
    result = driver.to_ram(RAM, 8, command=INTERRUPT) if way else driver.to_device(RAM, 8, command=INTERRUPT)
    assert (result, driver.get(CAUSES)) == (Result.NO_BUS_MASTER, FAILED_CAUSE)
    assert os.pread(ram, RAM_SIZE, 0) == before
    assert driver.client.read(BAR, BUFFER, 64) == b"\xee" * 64
    driver.master()
    assert driver.to_device(RAM, 8) == Result.DONE


@pytest.mark.parametrize(
    ("at", "count"), [(0, 0), (-1, 4), (BUFFER, 1), (BUFFER - 3, 4), (0, BUFFER + 1), (0, 1 << 63), (-BUFFER, 4)]
)
def test_the_other_end_must_be_in_the_buffer(driver: Driver, ram: int, at: int, count: int) -> None:
    before = os.pread(ram, RAM_SIZE, 0)
    assert driver.to_device(RAM, count, at=at) == Result.OUT_OF_BUFFER
    assert driver.to_ram(RAM, count, at=at) == Result.OUT_OF_BUFFER
    assert os.pread(ram, RAM_SIZE, 0) == before


def test_the_interrupt_of_a_transfer_is_optional(driver: Driver) -> None:
    driver.to_device(RAM, 4)
    assert driver.get(CAUSES) == 0
    driver.to_device(RAM, 4, command=INTERRUPT)
    assert driver.get(CAUSES) == DONE_CAUSE


# --- by messages: what the client does not share ---


@pytest.fixture
def apart(nothing_stays_open: None) -> Iterator[Driver]:
    """The device with bus mastering on and 64 KiB at RAM that only messages reach; the client takes 4096 bytes."""
    with engine(dma="messages") as made:
        made.master()
        assert made.client.map(RAM, 64 << 10) == ""
        yield made


def _request(client: Client, command: int, address: int, count: int) -> Received:
    """The device's request, which must be this one."""
    request = client.receive()
    assert request.command == command
    assert user.DMA_ACCESS.unpack_from(request.payload) == (address, count)
    return request


def _answer(client: Client, request: Received) -> None:
    """The reply as QEMU 11.1 gives it; what is read depends on the address alone."""
    address, count = user.DMA_ACCESS.unpack_from(request.payload)
    payload = request.payload[: user.DMA_ACCESS.size]
    if request.command == user.VFIO_USER_DMA_READ:
        payload += bytes(number % 251 for number in range(address - RAM, address - RAM + count))
    client.connection.sendall(user.reply(request.message_id, request.command, payload))


def _expect(client: Client, command: int, address: int, count: int) -> bytes:
    """Take a request and answer it; what a DMA_WRITE wrote."""
    request = _request(client, command, address, count)
    _answer(client, request)
    return request.payload[user.DMA_ACCESS.size :]


def _probe(client: Client, address: int) -> None:
    """The empty write by which the server learns of QEMU's versions."""
    assert _expect(client, user.VFIO_USER_DMA_WRITE, address, 0) == b""


def test_to_the_device_by_messages(apart: Driver) -> None:
    apart.start(RAM + 10, BUFFER + 5, 10_000, INTERRUPT)
    _probe(apart.client, RAM + 10)
    for at, count in ((0, 4096), (4096, 4096), (8192, 1808)):
        request = _request(apart.client, user.VFIO_USER_DMA_READ, RAM + 10 + at, count)
        assert apart.get(COMMAND, 8) & START
        _answer(apart.client, request)
    assert (apart.result(), apart.get(CAUSES), apart.get(TRANSFERRED, 8)) == (Result.DONE, DONE_CAUSE, 10_000)
    expected = bytes(number % 251 for number in range(10, 10_010))
    assert apart.client.read(BAR, BUFFER, 10_010) == bytes(5) + expected + bytes(5)


def test_to_ram_by_messages(apart: Driver) -> None:
    data = bytes(number % 241 for number in range(5000))
    apart.client.write(BAR, BUFFER + 100, data)
    apart.start(BUFFER + 100, RAM + 4000, 5000, TO_RAM)
    _probe(apart.client, RAM + 4000)
    first = _expect(apart.client, user.VFIO_USER_DMA_WRITE, RAM + 4000, 4096)
    second = _expect(apart.client, user.VFIO_USER_DMA_WRITE, RAM + 8096, 904)
    assert first + second == data
    assert apart.result() == Result.DONE


def test_messages_have_the_same_faults(apart: Driver) -> None:
    assert apart.to_device(0, 4) == Result.UNMAPPED
    assert apart.get(FAULT, 8) == 0
    assert apart.to_ram(RAM + (64 << 10) - 1, 2) == Result.UNMAPPED
    apart.master(False)
    assert apart.to_device(RAM, 4) == Result.NO_BUS_MASTER  # and nobody is asked


@pytest.mark.parametrize("error", [errno.ENODEV, errno.E2BIG, errno.EIO])
def test_what_the_client_refuses(apart: Driver, error: int) -> None:
    apart.client.write(BAR, BUFFER, b"\xee" * 16)
    apart.start(RAM, BUFFER, 16, INTERRUPT)
    for _ in range(2):  # the probe, and the request itself
        request = apart.client.receive()
        apart.client.connection.sendall(user.error_reply(request.message_id, request.command, error))
    assert (apart.result(), apart.get(FAULT, 8), apart.get(CAUSES)) == (Result.REFUSED, RAM, FAILED_CAUSE)
    assert apart.client.read(BAR, BUFFER, 16) == b"\xee" * 16


def test_a_running_transfer_cannot_be_changed(apart: Driver) -> None:
    apart.start(RAM, BUFFER, 4, 0)
    _probe(apart.client, RAM)
    request = _request(apart.client, user.VFIO_USER_DMA_READ, RAM, 4)
    assert apart.get(COMMAND, 8) == START
    apart.put(SOURCE, 0x1234, 8)
    apart.put(DESTINATION, 0x1234, 8)
    apart.put(COMMAND, START | TO_RAM, 8)
    _answer(apart.client, request)
    assert apart.result() == Result.DONE
    assert (apart.get(SOURCE, 8), apart.get(DESTINATION, 8)) == (RAM, BUFFER)


def test_a_reset_ends_a_running_transfer_without_a_trace(apart: Driver) -> None:
    apart.start(RAM, BUFFER, 4, INTERRUPT)
    _probe(apart.client, RAM)
    request = apart.client.receive()
    assert not apart.client.call(user.VFIO_USER_DEVICE_RESET).error
    apart.client.connection.sendall(user.reply(request.message_id, request.command, request.payload + b"late"))
    assert apart.client.read(BAR, BUFFER, 8) == bytes(8)
    assert [apart.get(register) for register in (COMMAND, RESULT, CAUSES, RESETS)] == [0, 0, 0, 1]
    apart.master()
    apart.start(RAM, BUFFER, 4, 0)
    _expect(apart.client, user.VFIO_USER_DMA_READ, RAM, 4)
    assert apart.result() == Result.DONE


def test_a_transfer_whose_client_left_does_not_block_the_next_one(nothing_stays_open: None) -> None:
    model = DmaEngine(DmaEngine.Options(dma="messages"))
    for _ in range(2):
        with serving(model) as client:
            client.version()
            driver = Driver(client)
            assert driver.get(COMMAND, 8) & START == 0
            driver.master()
            client.map(RAM, PAGE)
            driver.start(RAM, BUFFER, 4, 0)
            client.receive()
    with serving(model) as client:
        client.version()
        assert Driver(client).result() == Result.REFUSED
    model.close()


# --- the defects are what they say ---


@pytest.mark.parametrize(
    ("defect", "wrong"),
    [("none", []), ("wrong-byte", [PAGE + 9]), ("stray-write", [PAGE + 10]), ("page-wrap", [*range(PAGE, PAGE + 10)])],
)
def test_defects_of_the_data(ram: int, defect: str, wrong: list[int]) -> None:
    with engine(defect=defect) as driver:
        driver.master()
        driver.client.map(RAM, RAM_SIZE, descriptors=[ram])
        driver.client.write(BAR, BUFFER, b"\xee" * (2 * PAGE))
        assert driver.to_device(RAM + PAGE, PAGE + 10) == Result.DONE
        expected = os.pread(ram, PAGE + 10, PAGE) + b"\xee" * (PAGE - 10)
        got = driver.client.read(BAR, BUFFER, 2 * PAGE)
        differing = [at for at in range(2 * PAGE) if got[at] != expected[at]]
        assert set(differing) <= set(wrong)
        assert bool(differing) == bool(wrong)


def test_defects_of_the_control(ram: int) -> None:
    with engine(defect="silent-fault") as driver:
        driver.master()
        assert driver.to_device(0, 4, command=INTERRUPT) == Result.DONE
        assert driver.get(CAUSES) == DONE_CAUSE
    with engine(defect="no-bus-master") as driver:
        driver.client.map(RAM, RAM_SIZE, descriptors=[ram])
        assert driver.to_device(RAM, 4) == Result.DONE


# --- how memory is reached is the option's choice ---


@pytest.mark.parametrize("dma", ["mapped", "messages"])
def test_by_messages_shared_memory_is_left_alone(dma: str, ram: int) -> None:
    with engine(dma=dma) as driver:
        driver.master()
        driver.client.map(RAM, RAM_SIZE, descriptors=[ram])
        driver.start(RAM + 4, BUFFER, 4, 0)
        if dma == "messages":
            _probe(driver.client, RAM + 4)
            _expect(driver.client, user.VFIO_USER_DMA_READ, RAM + 4, 4)
        assert driver.result() == Result.DONE
        assert driver.client.read(BAR, BUFFER, 4) == (b"\4\5\6\7" if dma == "messages" else b"\1\0\0\0")
