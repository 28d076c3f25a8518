# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the Management Complex, and the copy engine of a dpio: both by the stream of their container."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from passthru.emulation import copy_registers as registers
from passthru.emulation.models.management_complex.status import Status
from passthru.emulation.models.outcome import Result
from tests.unit.emulation.shared_ram.made_plug import words_of
from tests.unit.emulation.shared_ram.mc_driver import (
    ASSIGN,
    CHILD,
    CLEAR_IRQ_STATUS,
    CREATE_DPBP,
    GET_IRQ,
    GET_IRQ_STATUS,
    OPEN_DPIO,
    OPEN_DPRC,
    RESET,
    ROOT,
    SET_IRQ,
    SET_IRQ_ENABLE,
    SET_IRQ_MASK,
    SET_OBJECT_IRQ,
    Software,
    request,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.emulation.words import Words

DOORBELL = 0x8000040
DPIO = 0x10000
"""Where dpio.0 has its copy engine."""


@pytest.fixture
def software(nothing_stays_open: None) -> Iterator[Software]:
    """Both streams can send messages."""
    made = Software()
    for number in (0, 1):
        made.plug.stream(number).map(DOORBELL & -4096)
    yield made
    made.model.close()


@pytest.fixture
def engine(software: Software) -> Words:
    """The registers of dpio.0's copy engine are from DPIO on."""
    return words_of(software.model, 1)


def messages(software: Software, stream: int) -> list[int]:
    return [int.from_bytes(data, "little") for at, data in software.plug.stream(stream).writes if at == DOORBELL]


def ring(software: Software, engine: Words, doorbell: int, value: int) -> None:
    engine.put(DPIO + doorbell, value)
    assert software.model.look()
    assert engine.get(DPIO + doorbell) == 0


def test_a_change_of_a_container_is_told(software: Software) -> None:
    root, child = software.open(ROOT, OPEN_DPRC, 1), software.open(CHILD, OPEN_DPRC, 2)
    software.hear(ROOT, root, DOORBELL, 11)
    software.hear(CHILD, child, DOORBELL, 22)
    number = software.ok(ROOT, CREATE_DPBP, root).word(0)
    assert (messages(software, 0), messages(software, 1)) == ([11], [])
    assert software.ok(ROOT, GET_IRQ_STATUS, root, words(0, 0)).word(0) == 0x41
    software.ok(ROOT, CLEAR_IRQ_STATUS, root, words(0xFFFFFFFF, 0))
    software.ok(ROOT, ASSIGN, root, request(2, "dpbp", number))
    assert (messages(software, 0), messages(software, 1)) == ([11, 11], [22])
    assert software.ok(ROOT, GET_IRQ_STATUS, root, words(0, 0)).word(0) == 0x2
    assert software.ok(CHILD, GET_IRQ_STATUS, child, words(0, 0)).word(0) == 0x1


def test_what_is_masked_or_disabled_is_told_later(software: Software) -> None:
    root, child = software.open(ROOT, OPEN_DPRC, 1), software.open(CHILD, OPEN_DPRC, 2)
    software.ok(CHILD, SET_IRQ, child, struct.pack("<IIQI", 22, 0, DOORBELL, 0))
    number = software.ok(ROOT, CREATE_DPBP, root).word(0)
    software.ok(ROOT, ASSIGN, root, request(2, "dpbp", number))
    software.ok(CHILD, SET_IRQ_ENABLE, child, words(1, 0))
    assert messages(software, 1) == []
    software.ok(CHILD, SET_IRQ_MASK, child, words(0x1, 0))
    assert messages(software, 1) == [22]


def test_a_message_to_an_address_that_is_not_mapped_is_lost(software: Software) -> None:
    root = software.open(ROOT, OPEN_DPRC, 1)
    software.hear(ROOT, root, 0x666000, 1)
    software.ok(ROOT, CREATE_DPBP, root)
    assert messages(software, 0) == []


def test_an_interrupt_that_is_not_there(software: Software) -> None:
    root = software.open(ROOT, OPEN_DPRC, 1)
    for code in (SET_IRQ, GET_IRQ, SET_IRQ_ENABLE, SET_IRQ_MASK, GET_IRQ_STATUS, CLEAR_IRQ_STATUS):
        assert software.send(ROOT, code, root, words(0, 1)).status is Status.CONFIG_ERROR


def test_the_copy_engine_of_a_dpio(software: Software, engine: Words) -> None:
    container, token = software.open(CHILD, OPEN_DPRC, 2), software.open(CHILD, OPEN_DPIO, 0)
    software.ok(CHILD, SET_OBJECT_IRQ, container, struct.pack("<IIQII16s", 33, 0, DOORBELL, 0, 0, b"dpio"))
    software.ok(CHILD, SET_IRQ_MASK, token, words(1, 0))
    software.ok(CHILD, SET_IRQ_ENABLE, token, words(1, 0))
    assert engine.get(DPIO + registers.ID) == registers.IDENTIFICATION
    software.plug.stream(1).map(0x1000, 0x2000)
    software.plug.stream(1).write(0x1FFE, b"data")
    for register, value in ((registers.SOURCE, 0x1FFE), (registers.DESTINATION, 0x2100), (registers.COUNT, 4)):
        engine.put_long(DPIO + register, value)
    ring(software, engine, registers.COMMAND, registers.START | registers.INTERRUPT)
    assert engine.get(DPIO + registers.RESULT) == Result.DONE
    assert software.plug.stream(1).read(0x2100, 4) == b"data"
    assert messages(software, 1) == [33]
    ring(software, engine, registers.COMMAND, registers.START | registers.INTERRUPT)
    assert messages(software, 1) == [33], "its level has not been low meanwhile"
    ring(software, engine, registers.ACKNOWLEDGE, 0xFF)
    ring(software, engine, registers.RAISE, 0x4)
    assert messages(software, 1) == [33, 33]
    software.ok(CHILD, RESET, token)
    assert engine.get(DPIO + registers.RESETS) == 1
    answer = software.ok(CHILD, GET_IRQ, token, words(0, 0))
    assert (answer.word(0), answer.long(8)) == (33, DOORBELL), "where it goes is the host's, and stays"


def test_a_dpio_copies_by_the_stream_of_the_container_where_it_is(software: Software, engine: Words) -> None:
    root = software.open(ROOT, OPEN_DPRC, 1)
    software.plug.stream(0).map(0x1000)
    engine.put_long(DPIO + registers.SOURCE, 0x1000)
    engine.put_long(DPIO + registers.DESTINATION, 0x1800)
    engine.put_long(DPIO + registers.COUNT, 4)
    ring(software, engine, registers.COMMAND, registers.START)
    assert engine.get(DPIO + registers.RESULT) == Result.UNMAPPED
    software.ok(ROOT, 0x158, root, request(2, "dpio", 0, 1))
    ring(software, engine, registers.COMMAND, registers.START)
    assert engine.get(DPIO + registers.RESULT) == Result.DONE
