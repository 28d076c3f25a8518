# SPDX-License-Identifier: GPL-2.0-or-later
"""The regions of a dpio in the guest's window: with a handshake they are those of the host's dpio."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import pytest

from passthru.emulation import copy_registers as registers
from passthru.emulation.fsl_mc_bridge.places import QUEUE_STRIDE
from passthru.emulation.mc_status import Status
from passthru.emulation.models.outcome import Result
from passthru.vfio import linux_vfio as vfio
from tests.unit.emulation.fsl_mc_bridge.made_host import region
from tests.unit.emulation.shared_ram.mc_driver import OPEN_DPRC, REGION, words

if TYPE_CHECKING:
    from passthru.emulation.words import Words
    from tests.unit.emulation.fsl_mc_bridge.made_host import MadeGuest, MadeHost

ENGINE = QUEUE_STRIDE
SOURCE, DESTINATION, NOWHERE = 0x10000, 0x20000, 0x30000


@pytest.fixture
def engine(guest: MadeGuest, host: MadeHost) -> Words:
    """The guest's window, when its kernel has found dpio.0."""
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    guest.ok(REGION, token, region("dpio", 0))
    host.software.plug.stream(1).map(SOURCE, DESTINATION)
    return guest.queues


def ring(guest: MadeGuest, host: MadeHost, doorbell: int, value: int) -> None:
    """The guest rings, the host's dpio answers, and that is carried back."""
    guest.queues.put(ENGINE + doorbell, value)
    assert guest.bridge.look()
    assert guest.queues.get(ENGINE + doorbell) == value
    assert host.software.model.look()
    assert guest.bridge.look()
    assert guest.queues.get(ENGINE + doorbell) == 0
    assert not guest.bridge.look()


def start(guest: MadeGuest, host: MadeHost, source: int, count: int, command: int = registers.START) -> None:
    for register, value in (
        (registers.SOURCE, source),
        (registers.DESTINATION, DESTINATION),
        (registers.COUNT, count),
    ):
        guest.queues.put_long(ENGINE + register, value)
    ring(guest, host, registers.COMMAND, command)


def test_the_registers_are_there_from_the_beginning(engine: Words) -> None:
    assert engine.get(ENGINE + registers.ID) == registers.IDENTIFICATION


def test_a_copy(engine: Words, guest: MadeGuest, host: MadeHost) -> None:
    memory = host.software.plug.stream(1)
    memory.write(SOURCE, b"by the container")
    start(guest, host, SOURCE, 16, registers.START | registers.INTERRUPT)
    assert memory.read(DESTINATION, 16) == b"by the container"
    assert engine.get(ENGINE + registers.RESULT) == Result.DONE
    assert engine.get_long(ENGINE + registers.TRANSFERRED) == 16
    assert engine.get(ENGINE + registers.CAUSES) == 1
    ring(guest, host, registers.ACKNOWLEDGE, 1)
    assert engine.get(ENGINE + registers.CAUSES) == 0


def test_a_fault(engine: Words, guest: MadeGuest, host: MadeHost) -> None:
    start(guest, host, NOWHERE, 16)
    assert engine.get(ENGINE + registers.RESULT) == Result.UNMAPPED
    assert engine.get_long(ENGINE + registers.FAULT) == NOWHERE


def test_a_reset(engine: Words, guest: MadeGuest, host: MadeHost) -> None:
    start(guest, host, NOWHERE, 16)
    ring(guest, host, registers.RESET, 1)
    assert engine.get(ENGINE + registers.RESETS) == 1
    assert engine.get_long(ENGINE + registers.SOURCE) == 0
    assert engine.get_long(ENGINE + registers.FAULT) == 0


def test_plain_memory_goes_with_the_doorbell(engine: Words, guest: MadeGuest, host: MadeHost) -> None:
    engine.memory[:5] = b"plain"
    ring(guest, host, registers.RAISE, 0x100)
    with host.devices["dpio.0"].map(0, 0, mmap.PAGESIZE) as mapping:
        assert mapping[:5] == b"plain"


def test_two_doorbells_at_once(engine: Words, guest: MadeGuest, host: MadeHost) -> None:
    engine.put(ENGINE + registers.RAISE, 0x300)
    engine.put(ENGINE + registers.ACKNOWLEDGE, 0x100)
    for _ in range(3):
        guest.bridge.look()
        host.software.model.look()
    assert engine.get(ENGINE + registers.RAISE) == engine.get(ENGINE + registers.ACKNOWLEDGE) == 0
    assert engine.get(ENGINE + registers.CAUSES) == 0x300


def test_other_registers_are_not_shared(guest: MadeGuest, host: MadeHost, capfd: pytest.CaptureFixture[str]) -> None:
    """Real portals of QBMan are no memory that can be copied."""
    host.software.model.inventory.engines[0]._window.words.put(ENGINE + registers.ID, 0x1234)
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    assert guest.send(REGION, token, region("dpio", 0)).status is Status.NO_RESOURCE
    assert "dpio.0 has other registers" in capfd.readouterr().err


@pytest.mark.parametrize("number", [0, 1])
def test_regions_that_vfio_does_not_let_map(
    guest: MadeGuest, host: MadeHost, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    host.devices["dpio.0"].flags[number] = vfio.VFIO_REGION_INFO_FLAG_READ
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    assert guest.send(REGION, token, region("dpio", 0)).status is Status.NO_RESOURCE
    assert f"region {number} of dpio.0 has 0x10000 bytes and flags 0x1" in capfd.readouterr().err
