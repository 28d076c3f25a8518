# SPDX-License-Identifier: GPL-2.0-or-later
"""The copy engine: copies, faults, doorbells, the interrupt's level, and each of its defects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from passthru.emulation.copy_registers import (
    ACKNOWLEDGE,
    CAUSES,
    COMMAND,
    COUNT,
    DESTINATION,
    FAULT,
    ID,
    IDENTIFICATION,
    INTERRUPT,
    RAISE,
    RESET,
    RESETS,
    RESULT,
    SOURCE,
    START,
    TRANSFERRED,
)
from passthru.emulation.models.copy_engine import CopyEngineDevice
from passthru.emulation.models.copy_engine.engine import MOST_BYTES, Defect
from passthru.emulation.models.outcome import Result
from tests.unit.emulation.shared_ram.made_plug import MadePlug, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 4096
FROM, TO = 0x10000, 0x20000


class Driver:
    """The device with what a driver and the line's other end see of it."""

    def __init__(self, **options: Any) -> None:
        self.model = CopyEngineDevice(CopyEngineDevice.Options(**options))
        self.plug = MadePlug()
        self.levels: list[bool] = []
        self.model.irqs[0].wire = self.levels.append
        self.model.plugged(self.plug)
        self.memory = self.plug.dma
        self.memory.map(FROM, FROM + PAGE, TO, TO + PAGE)
        self.words = words_of(self.model, 0)

    def copy(self, source: int, destination: int, count: int, command: int = START) -> Result:
        """Ring, let it look, and take the result."""
        self.words.put_long(SOURCE, source)
        self.words.put_long(DESTINATION, destination)
        self.words.put_long(COUNT, count)
        self.ring(COMMAND, command)
        return Result(self.words.get(RESULT))

    def ring(self, doorbell: int, value: int) -> None:
        """Set a doorbell, which must be answered."""
        self.words.put(doorbell, value)
        assert self.model.look()
        assert self.words.get(doorbell) == 0


@pytest.fixture
def new(nothing_stays_open: None) -> Iterator[Callable[..., Driver]]:
    """Makes devices."""
    made: list[Driver] = []

    def make(**options: Any) -> Driver:
        made.append(Driver(**options))
        return made[-1]

    yield make
    for driver in made:
        driver.model.close()


@pytest.fixture
def driver(new: Callable[..., Driver]) -> Driver:
    """A faithful device."""
    return new()


def test_at_the_beginning(driver: Driver) -> None:
    assert driver.words.get(ID) == IDENTIFICATION
    assert driver.words.get(RESETS) == 0
    assert not driver.model.look()


def test_a_copy_across_pages(driver: Driver) -> None:
    data = bytes(range(1, 201)) * 20
    driver.memory.write(FROM + 100, data)
    assert driver.copy(FROM + 100, TO + 3000, len(data)) is Result.DONE
    assert driver.memory.read(TO + 3000, len(data)) == data
    assert driver.words.get_long(TRANSFERRED) == len(data)
    assert driver.words.get_long(FAULT) == 0
    assert driver.levels == []


@pytest.mark.parametrize(
    ("source", "destination", "fault", "transferred"),
    [
        (FROM + PAGE, TO, FROM + 2 * PAGE, PAGE),
        (FROM, TO + PAGE - 8, TO + 2 * PAGE, PAGE + 8),
        (0x50000, TO, 0x50000, 0),
        (FROM, (1 << 64) - 16, (1 << 64) - 16, 0),
    ],
)
def test_a_fault(driver: Driver, source: int, destination: int, fault: int, transferred: int) -> None:
    assert driver.copy(source, destination, 2 * PAGE) is Result.UNMAPPED
    assert driver.words.get_long(FAULT) == fault
    assert driver.words.get_long(TRANSFERRED) == transferred


def test_what_may_only_be_read(driver: Driver) -> None:
    driver.memory.read_only.add(TO)
    assert driver.copy(FROM, TO, 4) is Result.FORBIDDEN
    assert driver.copy(TO, FROM, 4) is Result.DONE


@pytest.mark.parametrize("count", [0, MOST_BYTES + 1, (1 << 64) - 1])
def test_too_little_and_too_much(driver: Driver, count: int) -> None:
    assert driver.copy(FROM, TO, count) is Result.OUT_OF_BUFFER


def test_a_command_without_start_does_nothing(driver: Driver) -> None:
    assert driver.copy(FROM, TO, 4, INTERRUPT) is Result.NONE
    assert driver.levels == []


def test_the_line_is_high_until_all_is_acknowledged(driver: Driver) -> None:
    driver.copy(FROM, TO, 4, START | INTERRUPT)
    assert driver.words.get(CAUSES) == 0x1
    driver.copy(0, TO, 4, START | INTERRUPT)
    assert driver.words.get(CAUSES) == 0x3
    driver.ring(ACKNOWLEDGE, 0x1)
    assert driver.words.get(CAUSES) == 0x2
    assert driver.levels[-1] is True
    driver.ring(ACKNOWLEDGE, 0x2)
    assert driver.levels[-1] is False
    driver.ring(RAISE, 0x100)
    assert driver.words.get(CAUSES) == 0x100
    assert driver.levels[-1] is True


def test_causes_are_the_devices_not_what_the_driver_writes_there(driver: Driver) -> None:
    driver.words.put(CAUSES, 0xFF)
    driver.ring(RAISE, 0x100)
    assert driver.words.get(CAUSES) == 0x100


def test_a_reset(driver: Driver) -> None:
    driver.copy(FROM, TO, 4, START | INTERRUPT)
    driver.ring(RESET, 1)
    assert [driver.words.get(register) for register in (RESETS, RESULT, CAUSES, SOURCE)] == [1, 0, 0, 0]
    assert driver.levels[-1] is False
    driver.model.reset()
    assert driver.words.get(RESETS) == 2


@pytest.mark.parametrize("defect", ["wrong-byte", "page-wrap", "silent-fault", "lost-interrupt"])
def test_each_defect_is_seen(new: Callable[..., Driver], defect: Defect) -> None:
    driver = new(defect=defect)
    data = bytes(range(1, 257 - 6)) * 8
    driver.memory.write(FROM, data)
    driver.copy(FROM, TO + 3000, len(data), START | INTERRUPT)
    carried = driver.memory.read(TO + PAGE, len(data) - 1097) == data[1096:-1]
    driver.copy(FROM, TO, 16)
    whole = driver.memory.read(TO, 16) == data[:16]
    told = driver.copy(0x50000, TO, 4) is Result.UNMAPPED
    heard = driver.levels[:1] == [True]
    seen = {"wrong-byte": whole, "page-wrap": carried, "silent-fault": told, "lost-interrupt": heard}
    assert [name for name, good in seen.items() if not good] == [defect]
