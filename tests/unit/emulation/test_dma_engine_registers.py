# SPDX-License-Identifier: GPL-2.0-or-later
"""The dma-engine's registers, configuration space, regions, and what is left of them after a reset."""

from __future__ import annotations

import math
import mmap
import os
import random
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models import catalogue
from passthru.emulation.models.dma_engine import DmaEngine
from passthru.emulation.options import build_options
from passthru.errors import UserMistake
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.info_capabilities import REGION, SparseMmap, parse_capabilities
from tests.unit.emulation.client import serving
from tests.unit.emulation.engine import (
    BAR,
    BUFFER,
    BUFFER_OFFSET,
    BUFFER_SIZE,
    CAUSES,
    COMMAND,
    COMMAND_REGISTER,
    CONFIG,
    COUNT,
    DESTINATION,
    FACTORIAL,
    FAULT,
    IDENTIFICATION,
    LIVENESS,
    PAGE,
    RAISE,
    RESETS,
    RESULT,
    SOURCE,
    STATUS,
    TABLE,
    TRANSFERRED,
    Driver,
    engine,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def driver(nothing_stays_open: None) -> Iterator[Driver]:
    with engine() as made:
        yield made


def test_the_catalogue_has_it() -> None:
    options = build_options(catalogue()["dma-engine"].Options, "dma-engine", {"dma": "messages", "msix": 16})
    assert options == DmaEngine.Options(dma="messages", msix=16)
    with pytest.raises(UserMistake, match="option defect of model dma-engine is 'all'"):
        build_options(DmaEngine.Options, "dma-engine", {"defect": "all"})


def test_identification_and_buffer(driver: Driver) -> None:
    assert driver.get(IDENTIFICATION) == 0x01005054
    assert (driver.get(BUFFER_OFFSET), driver.get(BUFFER_SIZE)) == (BUFFER, BUFFER)
    driver.put(IDENTIFICATION, 1)
    assert driver.get(IDENTIFICATION) == 0x01005054


@pytest.mark.parametrize("value", [0, 1, 0x12345678, 0xFFFFFFFF])
def test_liveness_inverts(driver: Driver, value: int) -> None:
    driver.put(LIVENESS, value)
    assert driver.get(LIVENESS) == value ^ 0xFFFFFFFF


@pytest.mark.parametrize("value", [0, 1, 5, 12, 13, 33, 34, 1000, 0xFFFFFFFF])
def test_factorial(driver: Driver, value: int) -> None:
    driver.put(FACTORIAL, value)
    assert driver.get(FACTORIAL) == (math.factorial(value) & 0xFFFFFFFF if value < 2000 else 0)
    assert driver.get(STATUS) == 0
    assert driver.get(CAUSES) == 0


def test_factorial_with_an_interrupt(driver: Driver) -> None:
    driver.put(STATUS, 0xFFFFFFFF)
    assert driver.get(STATUS) == 0x80
    driver.put(FACTORIAL, 4)
    assert (driver.get(FACTORIAL), driver.get(CAUSES)) == (24, 1)


@pytest.mark.parametrize("register", [SOURCE, DESTINATION, COUNT])
def test_dma_registers_have_two_halves(driver: Driver, register: int) -> None:
    driver.put(register, 0x1122334455667788, 8)
    assert driver.get(register) == 0x55667788
    assert driver.get(register + 4) == 0x11223344
    driver.put(register + 4, 0xAABBCCDD)
    driver.put(register, 0x01020304)
    assert driver.get(register, 8) == 0xAABBCCDD01020304


@pytest.mark.parametrize(
    ("offset", "size"), [(0x00, 8), (0x04, 2), (0x05, 4), (0x04, 1), (0x82, 4), (0x84, 8), (0x80, 2)]
)
def test_other_accesses_read_ones_and_write_nothing(driver: Driver, offset: int, size: int) -> None:
    before = driver.client.read(BAR, LIVENESS, 4) + driver.client.read(BAR, SOURCE, 8)
    assert driver.client.read(BAR, offset, size) == b"\xff" * size
    driver.client.write(BAR, offset, b"\x5a" * size)
    assert driver.client.read(BAR, LIVENESS, 4) + driver.client.read(BAR, SOURCE, 8) == before


@pytest.mark.parametrize("offset", [0x0C, 0x28, 0x7C, 0xB8, 0x800, PAGE, BUFFER - 4])
def test_where_no_register_is(driver: Driver, offset: int) -> None:
    driver.put(offset, 0x5A5A5A5A)
    assert driver.get(offset) == 0xFFFFFFFF


@pytest.mark.parametrize("register", [RESULT, FAULT, TRANSFERRED, RESETS, CAUSES])
def test_read_only_registers(driver: Driver, register: int) -> None:
    driver.put(register, 0xFFFFFFFF)
    assert driver.get(register) == 0


def test_a_command_without_start_is_not_taken(driver: Driver) -> None:
    driver.put(COMMAND, 0x6, 8)
    driver.put(COMMAND + 4, 0x1)
    assert driver.get(COMMAND, 8) == 0


def test_the_buffer_is_memory_in_every_size(driver: Driver) -> None:
    driver.client.write(BAR, BUFFER + 3, bytes(range(1, 14)))
    assert driver.client.read(BAR, BUFFER, 20) == b"\0\0\0" + bytes(range(1, 14)) + b"\0\0\0\0"
    assert driver.client.read(BAR, 2 * BUFFER - 1, 1) == b"\0"


@pytest.mark.parametrize("kib", [64, 1024, 16384])
def test_the_buffer_and_nothing_else_can_be_mapped(kib: int, nothing_stays_open: None) -> None:
    size = kib << 10
    with engine(buffer_kib=kib) as driver:
        request = vfio.REGION_INFO.pack(vfio.REGION_INFO.size + 32, 0, BAR, 0, 0, 0)
        reply = driver.client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, request)
        _, flags, _, cap_offset, region_size, offset = vfio.REGION_INFO.unpack_from(reply.payload)
        assert flags & vfio.VFIO_REGION_INFO_FLAG_MMAP
        assert region_size == 2 * size
        assert parse_capabilities(REGION, reply.payload, cap_offset) == (SparseMmap(((size, size),)),)
        (descriptor,) = reply.descriptors
        with mmap.mmap(descriptor, size, offset=offset + size) as memory:
            os.close(descriptor)
            memory[:4] = b"seen"
            assert driver.client.read(BAR, size, 4) == b"seen"
            driver.client.write(BAR, 2 * size - 4, b"also")
            assert memory[-4:] == b"also"


def test_configuration_space(driver: Driver) -> None:
    header = driver.client.read(CONFIG, 0, 64)
    assert header[:4] == b"\x54\x50\x4d\x44"
    assert header[0x06] & 0x10
    assert header[0x09:0x0C] == b"\x00\x80\x08"
    assert header[0x3D] == 1
    capabilities = {}
    place = header[0x34]
    while place:
        capabilities[driver.client.read(CONFIG, place, 1)[0]] = place
        place = driver.client.read(CONFIG, place + 1, 1)[0]
    assert set(capabilities) == {0x05, 0x11, 0x13}
    assert driver.client.read(CONFIG, capabilities[0x05] + 2, 2) == (0x80 | 3 << 1).to_bytes(2, "little")
    assert driver.client.read(CONFIG, capabilities[0x11] + 2, 10) == bytes.fromhex("0700 02000000 02080000")
    assert driver.client.read(CONFIG, 0x30, 4) == bytes(4)


def test_base_addresses_tell_their_sizes(driver: Driver) -> None:
    for bar, size in ((0, 2 * BUFFER), (2, PAGE), (1, 0), (5, 0)):
        driver.client.write(CONFIG, 0x10 + 4 * bar, b"\xff" * 4)
        assert int.from_bytes(driver.client.read(CONFIG, 0x10 + 4 * bar, 4), "little") == -size & 0xFFFFFFFF
    driver.client.write(CONFIG, 0x30, (0xFFFFF800).to_bytes(4, "little"))
    assert driver.client.read(CONFIG, 0x30, 4) == bytes(4)


@pytest.mark.parametrize(("msi", "msix", "expected"), [(0, 0, {0x13}), (1, 0, {0x05, 0x13}), (0, 16, {0x11, 0x13})])
def test_capabilities_are_those_of_the_options(
    msi: int, msix: int, expected: set[int], nothing_stays_open: None
) -> None:
    with engine(msi=msi, msix=msix) as driver:
        found, place = set(), driver.client.read(CONFIG, 0x34, 1)[0]
        while place:
            found.add(driver.client.read(CONFIG, place, 1)[0])
            place = driver.client.read(CONFIG, place + 1, 1)[0]
        assert found == expected
        info = vfio.REGION_INFO.pack(vfio.REGION_INFO.size, 0, TABLE, 0, 0, 0)
        reply = driver.client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, info)
        assert vfio.REGION_INFO.unpack_from(reply.payload)[4] == (PAGE if msix else 0)


def test_no_message_is_ever_pending(driver: Driver) -> None:
    driver.client.write(TABLE, 0x800, b"\xff" * 8)
    assert driver.client.read(TABLE, 0x800, 8) == bytes(8)


@pytest.mark.parametrize("way", ["message", "function level reset"])
def test_a_reset_restores_everything_and_is_counted(driver: Driver, way: str) -> None:
    fresh = driver.client.read(CONFIG, 0, 256)
    driver.master()
    driver.client.write(CONFIG, 0x10, (0xFEB00000).to_bytes(4, "little"))
    driver.put(LIVENESS, 5)
    driver.put(STATUS, 0x80)
    driver.put(FACTORIAL, 3)
    driver.put(RAISE, 0xF0)
    driver.client.write(BAR, BUFFER + 17, b"left over")
    assert driver.to_device(1 << 40, 8) != 0
    if way == "message":
        assert not driver.client.call(user.VFIO_USER_DEVICE_RESET).error
    else:
        driver.client.write(CONFIG, 0x74, b"\1")
    assert driver.client.read(CONFIG, 0, 256) == fresh
    for register in (LIVENESS, FACTORIAL, STATUS, CAUSES, RESULT):
        assert driver.get(register) == 0, hex(register)
    for register in (SOURCE, DESTINATION, COUNT, COMMAND, FAULT, TRANSFERRED):
        assert driver.get(register, 8) == 0, hex(register)
    assert driver.client.read(BAR, BUFFER, 64) == bytes(64)
    assert driver.get(RESETS) == 1


def test_a_reset_is_seen_in_mapped_memory(driver: Driver) -> None:
    request = vfio.REGION_INFO.pack(vfio.REGION_INFO.size + 32, 0, BAR, 0, 0, 0)
    (descriptor,) = driver.client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, request).descriptors
    with mmap.mmap(descriptor, BUFFER, offset=BUFFER) as memory:
        os.close(descriptor)
        memory[:] = b"\x5a" * BUFFER
        driver.client.call(user.VFIO_USER_DEVICE_RESET)
        assert memory[:] == bytes(BUFFER)
        driver.client.write(BAR, BUFFER, b"again")
        assert memory[:5] == b"again"


@pytest.mark.parametrize("seed", range(4))
def test_no_access_is_a_mistake_of_the_model(driver: Driver, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1500):
        region, extent = chance.choice(((BAR, 0x100), (BAR, 2 * BUFFER), (TABLE, PAGE), (CONFIG, 0x100)))
        size = chance.choice((1, 2, 4, 8, 8, 4))
        offset = chance.randrange(extent - size + 1) & chance.choice((-1, -4, -8))
        head = user.REGION_ACCESS.pack(offset, region, size)
        if chance.random() < 0.5:
            reply = driver.client.call(user.VFIO_USER_REGION_READ, head)
        else:
            value = chance.choice((0, 1, 7, chance.getrandbits(16), chance.getrandbits(64), (1 << 64) - 1))
            data = value.to_bytes(8, "little")[:size]
            reply = driver.client.call(user.VFIO_USER_REGION_WRITE, head + data)
        assert reply.error == "", (reply.error, region, hex(offset), size)


def test_registers_outlive_a_client(nothing_stays_open: None) -> None:
    model = DmaEngine(DmaEngine.Options())
    with serving(model) as client:
        client.version()
        Driver(client).put(LIVENESS, 7)
        client.write(CONFIG, COMMAND_REGISTER, b"\x06\x00")
    with serving(model) as client:
        client.version()
        assert Driver(client).get(LIVENESS) == 7 ^ 0xFFFFFFFF
        assert client.read(CONFIG, COMMAND_REGISTER, 2) == b"\x06\x00"
    model.close()
