# SPDX-License-Identifier: GPL-2.0-or-later
"""The base of simple PCI models: its configuration space, its BARs, and INTx as a level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.model import Model
from passthru.emulation.pci import PciId, PciModel
from passthru.emulation.regions import Region
from passthru.vfio import linux_vfio as vfio
from tests.unit.emulation.client import Client, serving, signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX
COMMAND, STATUS, BAR0, BAR2 = 0x04, 0x06, 0x10, 0x18
UNMASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK
ENABLE = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


@pytest.fixture
def card(nothing_stays_open: None) -> PciModel:
    return PciModel(Model.Options(), PciId(0x5054, 1, 0x070002, 3), {0: Region(0x1000), 2: Region(16)})


@pytest.fixture
def client(card: PciModel) -> Iterator[Client]:
    with serving(card) as client:
        client.version()
        yield client


def test_it_says_who_it_is(client: Client) -> None:
    assert client.read(CONFIG, 0, 4) == b"\x54\x50\x01\x00"
    assert client.read(CONFIG, 8, 4) == b"\x03\x02\x00\x07"
    assert client.read(CONFIG, 0x2C, 4) == b"\x54\x50\x01\x00"
    assert client.read(CONFIG, 0x3D, 1) == b"\x01"


def test_bars_are_sized_and_what_is_not_there_stays_0(client: Client) -> None:
    for offset, mask in ((BAR0, 0xFFFFF000), (BAR2, 0xFFFFFFF0), (BAR0 + 4, 0), (0x30, 0)):
        client.write(CONFIG, offset, b"\xff\xff\xff\xff")
        assert int.from_bytes(client.read(CONFIG, offset, 4), "little") == mask
    client.write(CONFIG, 0, b"\xff\xff\xff\xff")
    assert client.read(CONFIG, 0, 4) == b"\x54\x50\x01\x00"


def test_intx_is_a_level(card: PciModel, client: Client, new_eventfd: Callable[[], int]) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(ENABLE, 0, 0, 1, descriptors=[eventfd]) == ""
    card.interrupt = True
    assert signalled(eventfd) == 1
    assert client.read(CONFIG, STATUS, 1) == b"\x08"
    assert client.set_irqs(UNMASK, 0, 0, 1) == ""
    assert signalled(eventfd) == 1  # still asserted
    card.interrupt = False
    assert client.set_irqs(UNMASK, 0, 0, 1) == ""
    assert signalled(eventfd) == 0
    assert client.read(CONFIG, STATUS, 1) == b"\0"


def test_intx_can_be_disabled_in_the_command_register(
    card: PciModel, client: Client, new_eventfd: Callable[[], int]
) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(ENABLE, 0, 0, 1, descriptors=[eventfd]) == ""
    client.write(CONFIG, COMMAND, b"\x02\x04")
    card.interrupt = True
    assert client.read(CONFIG, STATUS, 1) == b"\x08"  # told all the same
    assert signalled(eventfd) == 0
    client.write(CONFIG, COMMAND, b"\x02\x00")
    assert signalled(eventfd) == 1


def test_reset_forgets_what_was_written(card: PciModel, client: Client) -> None:
    client.write(CONFIG, COMMAND, b"\x02\x04")
    card.interrupt = True
    card.reset()
    assert client.read(CONFIG, COMMAND, 4) == bytes(4)
    assert not card.interrupt


@pytest.mark.parametrize(("number", "size"), [(0, 8), (0, 24), (6, 16), (-1, 16), (0, 0)])
def test_what_is_no_bar_is_refused(number: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"BAR {number} of {size} bytes"):
        PciModel(Model.Options(), PciId(1, 2), {number: Region(size)})
