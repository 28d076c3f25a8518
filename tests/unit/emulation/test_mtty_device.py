# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty as a client sees it: infos, interrupts of Linux 6.7 and later, and what stays when a client leaves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models import catalogue
from passthru.emulation.models.mtty import Mtty
from passthru.vfio import user_messages as user
from passthru.vfio.linux_vfio import (
    DEVICE_INFO,
    IRQ_INFO,
    REGION_INFO,
    VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_BOOL,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
)
from passthru.vfio.linux_vfio import VFIO_PCI_CONFIG_REGION_INDEX as CONFIG
from passthru.vfio.linux_vfio import VFIO_PCI_INTX_IRQ_INDEX as INTX
from passthru.vfio.linux_vfio import VFIO_PCI_MSI_IRQ_INDEX as MSI
from tests.unit.emulation.client import serving, signalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulation.client import Client

    NewEventfd = Callable[[], int]

NONE, BOOL, EVENTFD = VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_EVENTFD
MASK, UNMASK, TRIGGER = VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_ACTION_TRIGGER
THR, IER, LSR, SCR = 0, 1, 5, 7
THRI = 2


def _event(client: Client) -> None:
    client.write(0, IER, bytes((THRI,)))  # the FIFO is empty, so this interrupts


def test_catalogue() -> None:
    assert catalogue()["mtty"] is Mtty
    assert Mtty.Options() == Mtty.Options(ports=2, fifo="faithful")
    assert Mtty.access == "trapped"


def test_device_info_has_no_reset(mtty: Client) -> None:
    reply = mtty.call(user.VFIO_USER_DEVICE_GET_INFO, DEVICE_INFO.pack(16, 0, 0, 0))
    assert DEVICE_INFO.unpack(reply.payload) == (16, 2, 9, 5)


def test_region_infos(mtty: Client) -> None:
    for index, size in enumerate([8, 8, 0, 0, 0, 0, 0, 0xFF, 0]):
        reply = mtty.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, REGION_INFO.pack(32, 0, index, 0, 0, 0))
        assert REGION_INFO.unpack(reply.payload) == (32, 3, index, 0, size, index << 40)
    assert mtty.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, REGION_INFO.pack(32, 0, 9, 0, 0, 0)).error == "EINVAL"


def test_irq_infos(mtty: Client) -> None:
    for index, expected in enumerate([(16, 7, 0, 1), (16, 9, 1, 1)]):
        reply = mtty.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, IRQ_INFO.pack(16, 0, index, 0))
        assert IRQ_INFO.unpack(reply.payload) == expected
    for index in (2, 3, 4, 5):
        assert mtty.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, IRQ_INFO.pack(16, 0, index, 0)).error == "EINVAL"


def test_qemu_reads_all_of_the_config_space_at_once(mtty: Client) -> None:
    assert mtty.read(CONFIG, 0, 255)[:4] == b"\x48\x43\x53\x32"
    assert mtty.read(CONFIG, 0xFC, 4) == bytes(4)
    assert mtty.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0xFD, CONFIG, 4)).error == "EINVAL"


def test_the_second_port_is_a_port_of_its_own(mtty: Client) -> None:
    mtty.write(0, THR, b"a")
    mtty.write(1, THR, b"b")
    assert (mtty.read(1, THR, 1), mtty.read(0, THR, 1), mtty.read(0, LSR, 1)) == (b"b", b"a", b"\x60")


def test_one_port_has_no_second_bar() -> None:
    with serving(Mtty(Mtty.Options(ports=1))) as client:
        client.version()
        assert client.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, 1, 1)).error == "EINVAL"
        assert client.read(0, LSR, 1) == b"\x60"


def test_events_while_intx_is_masked_are_lost(mtty: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd]) == ""
    _event(mtty)
    _event(mtty)
    assert signalled(eventfd) == 1
    assert mtty.set_irqs(NONE | UNMASK, INTX, 0, 1) == ""
    assert signalled(eventfd) == 0
    _event(mtty)
    assert signalled(eventfd) == 1
    for flags, bools, heard in ((BOOL | UNMASK, b"\0", 0), (BOOL | UNMASK, b"\1", 1), (NONE | UNMASK, b"", 1)):
        assert mtty.set_irqs(flags, INTX, 0, 1, bools=bools) == ""
        _event(mtty)
        assert signalled(eventfd) == heard
    for flags, bools, heard in ((BOOL | MASK, b"\0", 1), (BOOL | MASK, b"\1", 0), (NONE | MASK, b"", 0)):
        assert mtty.set_irqs(NONE | UNMASK, INTX, 0, 1) == ""
        assert mtty.set_irqs(flags, INTX, 0, 1, bools=bools) == ""
        _event(mtty)
        assert signalled(eventfd) == heard


def test_a_new_eventfd_unmasks(mtty: Client, new_eventfd: NewEventfd) -> None:
    first, second = new_eventfd(), new_eventfd()
    mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[first])
    _event(mtty)
    mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[second])
    _event(mtty)
    assert (signalled(first), signalled(second)) == (1, 1)


def test_loopback_trigger_keeps_to_the_mask(mtty: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    assert mtty.set_irqs(BOOL | TRIGGER, INTX, 0, 1, bools=b"\0") == ""
    assert signalled(eventfd) == 0
    assert mtty.set_irqs(BOOL | TRIGGER, INTX, 0, 1, bools=b"\1") == ""
    assert mtty.set_irqs(NONE | TRIGGER, INTX, 0, 1) == ""
    assert signalled(eventfd) == 1


def test_msi_has_no_mask(mtty: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert mtty.set_irqs(EVENTFD | TRIGGER, MSI, 0, 1, descriptors=[eventfd]) == ""
    for _ in range(3):
        _event(mtty)
    assert mtty.set_irqs(NONE | TRIGGER, MSI, 0, 1) == ""
    assert signalled(eventfd) == 4
    assert mtty.set_irqs(NONE | TRIGGER, MSI, 0, 0) == ""
    _event(mtty)
    assert signalled(eventfd) == 0


@pytest.mark.parametrize(
    ("flags", "index", "start", "count", "error"),
    [
        (NONE | TRIGGER, INTX, 0, 0, "EINVAL"),
        (NONE | TRIGGER, INTX, 0, 1, "EINVAL"),
        (BOOL | TRIGGER, INTX, 0, 1, "EINVAL"),
        (NONE | MASK, INTX, 0, 1, "EINVAL"),
        (NONE | UNMASK, INTX, 0, 1, "EINVAL"),
        (EVENTFD | MASK, INTX, 0, 1, "EINVAL"),
        (EVENTFD | TRIGGER, INTX, 0, 1, ""),
        (EVENTFD | TRIGGER, INTX, 0, 2, "EINVAL"),
        (EVENTFD | TRIGGER, INTX, 1, 1, "EINVAL"),
        (NONE | TRIGGER, INTX, 5, 0, "EINVAL"),
        (NONE, INTX, 0, 1, ""),
        (NONE | MASK | UNMASK, INTX, 0, 1, ""),
        (NONE | MASK, MSI, 0, 1, "ENOTTY"),
        (NONE | UNMASK, MSI, 2, 3, "ENOTTY"),
        (NONE | UNMASK, MSI, 2, 4, "EINVAL"),
        (EVENTFD | UNMASK, MSI, 0, 1, "ENOTTY"),
        (NONE | TRIGGER, MSI, 0, 0, "EINVAL"),
        (NONE | TRIGGER, 2, 0, 0, "ENOTTY"),
        (EVENTFD | TRIGGER, 3, 0, 1, "ENOTTY"),
        (NONE | MASK, 4, 0, 5, "ENOTTY"),
        (NONE | MASK, 4, 0, 6, "EINVAL"),
        (NONE | TRIGGER, 5, 0, 0, "EINVAL"),
        (NONE | BOOL | TRIGGER, INTX, 0, 1, "EINVAL"),
    ],
)
def test_set_irqs_with_nothing_enabled(
    mtty: Client, flags: int, index: int, start: int, count: int, error: str
) -> None:
    assert mtty.set_irqs(flags, index, start, count, bools=b"\1" * 8) == error


@pytest.mark.parametrize(
    ("flags", "index", "start", "count", "error"),
    [
        (EVENTFD | MASK, INTX, 0, 1, "ENOTTY"),
        (EVENTFD | UNMASK, INTX, 0, 1, "ENOTTY"),
        (NONE | MASK, INTX, 0, 0, "EINVAL"),
        (NONE | MASK, INTX, 0, 2, "EINVAL"),
        (NONE | UNMASK, INTX, 1, 1, "EINVAL"),
        (NONE | TRIGGER, INTX, 0, 2, "EINVAL"),
        (BOOL | TRIGGER, INTX, 0, 0, "EINVAL"),
        (NONE | TRIGGER, INTX, 0, 0, ""),
        (NONE | TRIGGER, INTX, 4, 0, ""),
        (EVENTFD | TRIGGER, INTX, 0, 1, ""),
        (EVENTFD | TRIGGER, MSI, 0, 1, "EINVAL"),
        (NONE | TRIGGER, MSI, 0, 1, "EINVAL"),
        (NONE | MASK, MSI, 0, 1, "ENOTTY"),
    ],
)
def test_set_irqs_with_intx_enabled(
    mtty: Client, new_eventfd: NewEventfd, flags: int, index: int, start: int, count: int, error: str
) -> None:
    assert mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[new_eventfd()]) == ""
    assert mtty.set_irqs(flags, index, start, count, bools=b"\1" * 8) == error


def test_disabling_intx_makes_room_for_msi(mtty: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    assert mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1) == ""  # deassigned
    assert mtty.set_irqs(EVENTFD | TRIGGER, MSI, 0, 1, descriptors=[eventfd]) == ""
    assert mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd]) == "EINVAL"


def test_what_is_no_eventfd_takes_the_old_one_away(mtty: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    no_eventfd = os.memfd_create("no eventfd")
    assert mtty.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[no_eventfd]) == "EINVAL"
    os.close(no_eventfd)
    _event(mtty)
    assert signalled(eventfd) == 0
    assert mtty.set_irqs(NONE | UNMASK, INTX, 0, 1) == "EINVAL"


def test_registers_outlive_their_client_and_a_reset(new_eventfd: NewEventfd) -> None:
    card, eventfd = Mtty(Mtty.Options()), new_eventfd()
    with serving(card) as client:
        client.version()
        client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
        client.write(0, SCR, b"\x42")
        client.write(CONFIG, 0x3C, b"\x0b")
        assert client.call(user.VFIO_USER_DEVICE_RESET).error == ""
        assert client.read(0, SCR, 1) == b"\x42"
    with serving(card) as client:
        client.version()
        _event(client)
        assert signalled(eventfd) == 0
        assert (client.read(0, SCR, 1), client.read(CONFIG, 0x3C, 1)) == (b"\x42", b"\x0b")
