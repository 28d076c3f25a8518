# SPDX-License-Identifier: GPL-2.0-or-later
"""The dma-engine's interrupts: messages by vector, INTx as a level, and defects of both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models.dma_engine.interrupts import MOST_VECTORS
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation.client import SECONDS, signalled
from tests.unit.emulation.engine import (
    ACKNOWLEDGE,
    ASSIGN,
    CAUSES,
    CONFIG,
    DISABLE,
    INTERRUPT,
    INTX,
    MSI,
    MSIX,
    RAISE,
    RAISE_VECTOR,
    UNMASK,
    Driver,
    engine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    NewEventfd = Callable[[], int]

MSI_CONTROL = 0x52
ASSIGN_UNMASK = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_UNMASK


@pytest.fixture
def driver(nothing_stays_open: None) -> Iterator[Driver]:
    with engine() as made:
        made.master()
        yield made


def _assigned(driver: Driver, index: int, count: int, new_eventfd: NewEventfd) -> list[int]:
    eventfds = [new_eventfd() for _ in range(count)]
    assert driver.client.set_irqs(ASSIGN, index, 0, count, descriptors=eventfds) == ""
    return eventfds


def _enable_msi(driver: Driver, power: int) -> None:
    driver.client.write(CONFIG, MSI_CONTROL, (0x80 | power << 4 | 1).to_bytes(2, "little"))


def _counts(driver: Driver, eventfds: list[int]) -> list[int]:
    driver.get(CAUSES)  # whatever was sent before this answer is there
    return [signalled(eventfd) for eventfd in eventfds]


def test_what_the_irq_indices_tell(driver: Driver) -> None:
    counts = []
    for index in range(3):
        request = vfio.IRQ_INFO.pack(vfio.IRQ_INFO.size, 0, index, 0)
        counts.append(
            vfio.IRQ_INFO.unpack_from(driver.client.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, request).payload)[3]
        )
    assert counts == [1, 8, 8]
    for index in (3, 4):
        request = vfio.IRQ_INFO.pack(vfio.IRQ_INFO.size, 0, index, 0)
        assert driver.client.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, request).error == "EINVAL"


@pytest.mark.parametrize("index", [MSI, MSIX])
def test_every_vector_of_a_message_by_itself(driver: Driver, index: int, new_eventfd: NewEventfd) -> None:
    _enable_msi(driver, 3)
    eventfds = _assigned(driver, index, 8, new_eventfd)
    for vector in range(8):
        driver.put(RAISE_VECTOR, vector)
        assert _counts(driver, eventfds) == [int(number == vector) for number in range(8)]
        assert driver.get(CAUSES) == 1 << 16 + vector
        driver.put(ACKNOWLEDGE, 0xFFFFFFFF)
        assert driver.get(CAUSES) == 0
    assert _counts(driver, eventfds) == [0] * 8


@pytest.mark.parametrize("power", [0, 1, 2])
def test_msi_wraps_around_at_the_vectors_that_the_guest_enabled(
    driver: Driver, power: int, new_eventfd: NewEventfd
) -> None:
    _enable_msi(driver, power)
    eventfds = _assigned(driver, MSI, 1 << power, new_eventfd)
    for vector in range(8):
        driver.put(RAISE_VECTOR, vector)
    assert _counts(driver, eventfds) == [8 >> power] * (1 << power)


def test_a_message_comes_each_time_though_its_cause_is_there(driver: Driver, new_eventfd: NewEventfd) -> None:
    (eventfd, *_) = _assigned(driver, MSIX, 8, new_eventfd)
    for _ in range(3):
        driver.put(RAISE, 0x10)
    assert (signalled(eventfd), driver.get(CAUSES)) == (3, 0x10)
    driver.put(RAISE, 0)
    assert _counts(driver, [eventfd]) == [0]


def test_vectors_that_no_device_has_are_ignored(driver: Driver, new_eventfd: NewEventfd) -> None:
    eventfds = _assigned(driver, MSIX, 8, new_eventfd)
    for vector in (MOST_VECTORS, 0xFFFFFFFF):
        driver.put(RAISE_VECTOR, vector)
    assert (_counts(driver, eventfds), driver.get(CAUSES)) == ([0] * 8, 0)
    driver.put(RAISE_VECTOR, 9)  # one that this table has not
    assert _counts(driver, eventfds) == [0, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("vector", [0, 5, 7])
def test_a_transfer_interrupts_on_its_vector(driver: Driver, vector: int, new_eventfd: NewEventfd) -> None:
    eventfds = _assigned(driver, MSIX, 8, new_eventfd)
    ram = os.memfd_create("ram")
    os.ftruncate(ram, 4096)
    driver.client.map(0, 4096, descriptors=[ram])
    os.close(ram)
    expected = [int(number == vector) for number in range(8)]
    driver.to_device(0, 8, command=INTERRUPT | vector << 8)
    assert _counts(driver, eventfds) == expected
    driver.to_device(1 << 40, 8, command=INTERRUPT | vector << 8)
    assert _counts(driver, eventfds) == expected


def test_intx_is_a_level(driver: Driver, new_eventfd: NewEventfd) -> None:
    (eventfd,) = _assigned(driver, INTX, 1, new_eventfd)
    driver.put(RAISE, 0x3)
    driver.put(RAISE, 0x4)
    assert _counts(driver, [eventfd]) == [1]
    driver.client.set_irqs(UNMASK, INTX, 0, 1)
    assert _counts(driver, [eventfd]) == [1]  # its cause is still there
    driver.put(ACKNOWLEDGE, 0x3)
    driver.client.set_irqs(UNMASK, INTX, 0, 1)
    assert _counts(driver, [eventfd]) == [1]
    driver.put(ACKNOWLEDGE, 0x4)
    driver.client.set_irqs(UNMASK, INTX, 0, 1)
    assert _counts(driver, [eventfd]) == [0]
    driver.put(RAISE, 0x1)
    assert _counts(driver, [eventfd]) == [1]


def test_intx_that_is_unmasked_by_an_eventfd(driver: Driver, new_eventfd: NewEventfd) -> None:
    (eventfd,) = _assigned(driver, INTX, 1, new_eventfd)
    unmask = new_eventfd()
    assert driver.client.set_irqs(ASSIGN_UNMASK, INTX, 0, 1, descriptors=[unmask]) == ""
    driver.put(RAISE, 1)
    assert signalled(eventfd, SECONDS) == 1
    os.eventfd_write(unmask, 1)
    assert signalled(eventfd, SECONDS) == 1
    driver.put(ACKNOWLEDGE, 1)
    os.eventfd_write(unmask, 1)
    assert _counts(driver, [eventfd]) == [0]


def test_intx_that_is_disabled_waits(driver: Driver, new_eventfd: NewEventfd) -> None:
    (eventfd,) = _assigned(driver, INTX, 1, new_eventfd)
    driver.master(intx=False)
    driver.put(RAISE, 1)
    assert _counts(driver, [eventfd]) == [0]
    driver.master()
    assert _counts(driver, [eventfd]) == [1]


def test_intx_is_asserted_when_it_is_enabled_late(driver: Driver, new_eventfd: NewEventfd) -> None:
    driver.put(RAISE, 1)
    (eventfd,) = _assigned(driver, INTX, 1, new_eventfd)
    assert _counts(driver, [eventfd]) == [1]


def test_only_the_kind_that_is_enabled_is_used(driver: Driver, new_eventfd: NewEventfd) -> None:
    (intx,) = _assigned(driver, INTX, 1, new_eventfd)
    assert driver.client.set_irqs(DISABLE, INTX, 0, 0) == ""
    eventfds = _assigned(driver, MSIX, 8, new_eventfd)
    driver.put(RAISE_VECTOR, 2)
    assert _counts(driver, [intx, *eventfds]) == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert driver.client.set_irqs(DISABLE, MSIX, 0, 0) == ""
    driver.put(RAISE_VECTOR, 2)
    assert _counts(driver, [intx, *eventfds]) == [0] * 9


def test_a_reset_takes_the_causes_and_leaves_the_eventfds(driver: Driver, new_eventfd: NewEventfd) -> None:
    eventfds = _assigned(driver, MSIX, 8, new_eventfd)
    driver.put(RAISE_VECTOR, 1)
    driver.client.call(user.VFIO_USER_DEVICE_RESET)
    assert driver.get(CAUSES) == 0
    driver.put(RAISE_VECTOR, 1)
    assert _counts(driver, eventfds)[1] == 2


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        ("none", [1, 1, 1, 1, 1, 1, 1, 1]),
        ("lost-interrupt", [1, 1, 1, 0, 1, 1, 1, 0]),
        ("extra-interrupt", [2, 2, 2, 2, 2, 2, 2, 2]),
    ],
)
def test_defects_of_the_number(
    defect: str, expected: list[int], nothing_stays_open: None, new_eventfd: NewEventfd
) -> None:
    with engine(defect=defect) as driver:
        eventfds = _assigned(driver, MSIX, 8, new_eventfd)
        for vector in range(8):
            driver.put(RAISE_VECTOR, vector)
            driver.put(ACKNOWLEDGE, 0xFFFFFFFF)
            driver.put(ACKNOWLEDGE, 0xFFFFFFFF)
        assert _counts(driver, eventfds) == expected


def test_the_defect_of_the_vector(nothing_stays_open: None, new_eventfd: NewEventfd) -> None:
    with engine(defect="wrong-vector") as driver:
        eventfds = _assigned(driver, MSIX, 8, new_eventfd)
        driver.put(RAISE_VECTOR, 4)
        assert _counts(driver, eventfds) == [0, 0, 0, 0, 0, 1, 0, 0]
