# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices read and write is what their stream maps: RAM, and the word that takes messages."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.shared_ram.streams import Messages, StreamMemory
from tests.unit.emulation.shared_ram.made_ram import BASE, DATA, SIZE, STREAM, MadeSmmu, Tables

if TYPE_CHECKING:
    from passthru.emulation.shared_ram.ram import GuestRam

IOVA = 0xFFFF_0000_0000
DOORBELL = 0x8090040


@pytest.fixture
def sent() -> list[int]:
    """The messages that were sent."""
    return []


@pytest.fixture
def memory(made: MadeSmmu, sent: list[int]) -> StreamMemory:
    """Two pages at IOVA that are far apart in RAM, in the wrong order; and a page behind them with the doorbell."""
    tables = Tables(made.ram)
    tables.map(IOVA, DATA + 0x8000)
    tables.map(IOVA + 0x1000, DATA)
    tables.map(IOVA + 0x2000, DOORBELL & ~0xFFF)
    made.context(0, tables)
    made.route(0, STREAM, 0)
    made.enable()
    return StreamMemory(made.ram, made.smmu, Messages(DOORBELL, frozenset({STREAM}), sent.append), STREAM)


def error(action: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action()  # type: ignore[operator]
    return caught.value.errno


def test_across_pages(memory: StreamMemory, ram: GuestRam) -> None:
    data = bytes(range(256)) * 16
    memory.write(IOVA + 0x800, data)
    assert ram.read(DATA + 0x8800, 0x800) == data[:0x800]
    assert ram.read(DATA, 0x800) == data[0x800:]
    assert memory.read(IOVA + 0x800, len(data)) == data


def test_nothing_is_written_where_a_later_page_is_not_mapped(memory: StreamMemory, ram: GuestRam) -> None:
    assert error(lambda: memory.write(IOVA - 4, b"12345678")) == errno.EFAULT
    assert error(lambda: memory.write(IOVA + 0x1FFC, b"12345678")) == errno.EFAULT
    assert ram.read(DATA + 0xFFC, 4) == bytes(4)


def test_too_much(memory: StreamMemory) -> None:
    assert error(lambda: memory.read(IOVA, (16 << 20) + 1)) == errno.E2BIG
    assert error(lambda: memory.write(IOVA, bytes((16 << 20) + 1))) == errno.E2BIG


def test_a_message(memory: StreamMemory, sent: list[int]) -> None:
    memory.write(IOVA + 0x2040, (42).to_bytes(4, "little"))
    assert sent == [42]


@pytest.mark.parametrize(
    ("at", "data"), [(0x2044, b"1234"), (0x2040, b"12345678"), (0x203C, b"12345678"), (0x2040, b"12")]
)
def test_what_is_no_message(memory: StreamMemory, sent: list[int], at: int, data: bytes) -> None:
    assert error(lambda: memory.write(IOVA + at, data)) == errno.EFAULT
    assert sent == []


def test_messages_cannot_be_read(memory: StreamMemory) -> None:
    assert error(lambda: memory.read(IOVA + 0x2040, 4)) == errno.EFAULT


def test_a_message_of_a_stream_that_cannot_send_any(made: MadeSmmu, ram: GuestRam, sent: list[int]) -> None:
    """It would be an interrupt of the device that has DeviceID 0."""
    StreamMemory(ram, None, Messages(DOORBELL, frozenset({STREAM}), sent.append), 7).write(DOORBELL, bytes(4))
    assert sent == []


def test_without_an_smmu_addresses_are_physical(ram: GuestRam) -> None:
    memory = StreamMemory(ram, None, None, 0)
    memory.write(DATA, b"12345678")
    assert ram.read(DATA, 8) == memory.read(DATA, 8) == b"12345678"
    assert error(lambda: memory.read(BASE + SIZE - 4, 8)) == errno.EFAULT
    assert error(lambda: memory.read(BASE - 4, 8)) == errno.EFAULT
    assert error(lambda: memory.write(DOORBELL, bytes(4))) == errno.EFAULT
