# SPDX-License-Identifier: GPL-2.0-or-later
"""A memory model is a device over vfio-user too: there its doorbells are looked at when they are written."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation import copy_registers as registers
from passthru.emulation.models.copy_engine import CopyEngineDevice
from passthru.emulation.models.outcome import Result
from passthru.vfio import linux_vfio as vfio
from tests.unit.emulation.client import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.emulation.client import Client

ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


@pytest.fixture
def client(nothing_stays_open: None) -> Iterator[Client]:
    """A client of the copy engine."""
    model = CopyEngineDevice(CopyEngineDevice.Options())
    try:
        with serving(model) as made:
            made.version()
            yield made
    finally:
        model.close()


def put(client: Client, register: int, value: int, size: int = 4) -> None:
    client.write(0, register, value.to_bytes(size, "little"))


def get(client: Client, register: int) -> int:
    return int.from_bytes(client.read(0, register, 4), "little")


def test_a_copy_with_its_interrupt(client: Client, new_eventfd: Callable[[], int]) -> None:
    assert get(client, registers.ID) == registers.IDENTIFICATION
    ram = os.memfd_create("ram", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(ram, 0x10000)
        os.pwrite(ram, b"right", 0x10)
        assert client.map(0x100000, 0x10000, descriptors=[ram]) == ""
        eventfd = new_eventfd()
        assert client.set_irqs(ASSIGN, 0, 0, 1, descriptors=[eventfd]) == ""
        put(client, registers.SOURCE, 0x100010, 8)
        put(client, registers.DESTINATION, 0x104FFE, 8)
        put(client, registers.COUNT, 5, 8)
        put(client, registers.COMMAND, registers.START | registers.INTERRUPT)
        assert get(client, registers.COMMAND) == 0
        assert get(client, registers.RESULT) == Result.DONE
        assert os.pread(ram, 5, 0x4FFE) == b"right"
        assert os.eventfd_read(eventfd) == 1
    finally:
        os.close(ram)


def test_nothing_is_mapped(client: Client) -> None:
    put(client, registers.COUNT, mmap.PAGESIZE, 8)
    put(client, registers.COMMAND, registers.START)
    assert get(client, registers.RESULT) == Result.UNMAPPED
