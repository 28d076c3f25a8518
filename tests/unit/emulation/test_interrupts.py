# SPDX-License-Identifier: GPL-2.0-or-later
"""SET_IRQS in all its forms, on interrupts that behave as vfio-pci's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio.linux_vfio import (
    VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_BOOL,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
)
from passthru.vfio.linux_vfio import VFIO_PCI_INTX_IRQ_INDEX as INTX
from passthru.vfio.linux_vfio import VFIO_PCI_MSI_IRQ_INDEX as MSI
from passthru.vfio.linux_vfio import VFIO_PCI_MSIX_IRQ_INDEX as MSIX
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import SECONDS, serving, signalled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulation.client import Client
    from tests.unit.emulation.scratch_model import ScratchModel

    NewEventfd = Callable[[], int]

NONE, BOOL, EVENTFD = VFIO_IRQ_SET_DATA_NONE, VFIO_IRQ_SET_DATA_BOOL, VFIO_IRQ_SET_DATA_EVENTFD
MASK, UNMASK, TRIGGER = VFIO_IRQ_SET_ACTION_MASK, VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_SET_ACTION_TRIGGER


def _raise_intx(client: Client) -> None:
    client.write(scratch.REGISTERS, scratch.INTX, b"\1")


def _raise_msix(client: Client, vector: int) -> None:
    client.write(scratch.REGISTERS, scratch.TRIGGER, bytes((vector,)))


@pytest.mark.parametrize(
    "flags", [0, NONE, TRIGGER, NONE | BOOL | TRIGGER, NONE | TRIGGER | 0x40, NONE | MASK | UNMASK]
)
def test_flags_that_make_no_sense_are_einval(client: Client, flags: int) -> None:
    assert client.set_irqs(flags, INTX, 0, 1) == "EINVAL"


@pytest.mark.parametrize(
    ("index", "start", "count"), [(3, 0, 1), (INTX, 1, 0), (INTX, 0, 2), (MSIX, 4, 1), (MSIX, 1, 4)]
)
def test_interrupts_that_are_not_there_are_einval(client: Client, index: int, start: int, count: int) -> None:
    assert client.set_irqs(NONE | TRIGGER, index, start, count) == "EINVAL"
    assert client.set_irqs(EVENTFD | TRIGGER, index, start, count) == "EINVAL"


@pytest.mark.parametrize(("start", "count"), [(0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 1)])
@pytest.mark.parametrize("data", [NONE, BOOL, EVENTFD])
def test_huge_numbers_are_einval(client: Client, data: int, start: int, count: int) -> None:
    assert client.set_irqs(data | TRIGGER, MSIX, start, count) == "EINVAL"


def test_intx_is_enabled_triggers_once_and_is_masked_until_told(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    _raise_intx(client)
    assert client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd]) == ""
    assert signalled(eventfd) == 0
    for _ in range(3):
        _raise_intx(client)
    assert signalled(eventfd) == 1
    assert client.set_irqs(NONE | UNMASK, INTX, 0, 1) == ""
    assert signalled(eventfd) == 1  # what came while it was masked, told once
    assert client.set_irqs(NONE | UNMASK, INTX, 0, 1) == ""
    assert signalled(eventfd) == 0
    _raise_intx(client)
    assert signalled(eventfd) == 1


def test_intx_is_disabled_by_count_0_even_where_nothing_is_set(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 0) == ""
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 0) == ""
    _raise_intx(client)
    assert signalled(eventfd) == 0
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 1) == "EINVAL"


def test_eventfd_without_descriptors_deassigns(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1) == ""  # QEMU: MSI-X is enabled, no vector in use
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 3, 1, descriptors=[eventfd]) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 3, 1) == ""
    _raise_msix(client, 3)
    assert signalled(eventfd) == 0


def test_a_number_of_eventfds_that_is_not_count_is_einval(client: Client, new_eventfd: NewEventfd) -> None:
    eventfds = [new_eventfd() for _ in range(3)]
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 2, descriptors=eventfds) == "EINVAL"
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 4, descriptors=eventfds) == "EINVAL"


def test_what_is_no_eventfd_is_einval(client: Client) -> None:
    memory = os.memfd_create("no eventfd")
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, descriptors=[memory]) == "EINVAL"
    os.close(memory)


def test_loopback_trigger(client: Client, new_eventfd: NewEventfd) -> None:
    eventfds = [new_eventfd() for _ in range(4)]
    assert client.set_irqs(NONE | TRIGGER, MSIX, 0, 4) == "EINVAL"
    client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 4, descriptors=eventfds)
    assert client.set_irqs(NONE | TRIGGER, MSIX, 1, 2) == ""
    assert [signalled(eventfd) for eventfd in eventfds] == [0, 1, 1, 0]
    assert client.set_irqs(BOOL | TRIGGER, MSIX, 0, 4, bools=b"\1\0\0\xff") == ""
    assert [signalled(eventfd) for eventfd in eventfds] == [1, 0, 0, 1]
    assert client.set_irqs(BOOL | TRIGGER, MSIX, 0, 4, bools=b"\1\1\1") == "EINVAL"
    assert [signalled(eventfd) for eventfd in eventfds] == [0, 0, 0, 0]


def test_a_new_eventfd_takes_the_place_of_the_old_one(client: Client, new_eventfd: NewEventfd) -> None:
    first, second = new_eventfd(), new_eventfd()
    client.set_irqs(EVENTFD | TRIGGER, MSIX, 1, 1, descriptors=[first])
    client.set_irqs(EVENTFD | TRIGGER, MSIX, 1, 1, descriptors=[second])
    _raise_msix(client, 1)
    assert (signalled(first), signalled(second)) == (0, 1)


def test_a_new_eventfd_is_not_masked_and_has_nothing_pending(client: Client, new_eventfd: NewEventfd) -> None:
    first, second = new_eventfd(), new_eventfd()
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[first])
    _raise_intx(client)
    _raise_intx(client)
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[second])
    assert client.set_irqs(NONE | UNMASK, INTX, 0, 1) == ""
    assert (signalled(first), signalled(second)) == (1, 0)
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[first])
    _raise_intx(client)
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[second])
    _raise_intx(client)
    assert (signalled(first), signalled(second)) == (1, 1)


def test_mask_and_unmask(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(NONE | MASK, INTX, 0, 1) == "EINVAL"
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    assert client.set_irqs(BOOL | MASK, INTX, 0, 1, bools=b"\0") == ""
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 1) == ""
    assert signalled(eventfd) == 1
    assert client.set_irqs(BOOL | UNMASK, INTX, 0, 1, bools=b"\1") == ""
    assert client.set_irqs(BOOL | MASK, INTX, 0, 1, bools=b"\1") == ""
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 1) == ""
    assert signalled(eventfd) == 0
    assert client.set_irqs(BOOL | UNMASK, INTX, 0, 1, bools=b"\0") == ""
    assert signalled(eventfd) == 0
    assert client.set_irqs(BOOL | UNMASK, INTX, 0, 1, bools=b"\1") == ""
    assert signalled(eventfd) == 1


@pytest.mark.parametrize("index", [MSI, MSIX])
@pytest.mark.parametrize("data", [NONE, BOOL, EVENTFD])
def test_messages_cannot_be_masked(client: Client, index: int, data: int) -> None:
    for action in (MASK, UNMASK):
        assert client.set_irqs(data | action, index, 0, 1, bools=b"\1") == "ENOTTY"


def test_an_eventfd_unmasks(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd, unmask = new_eventfd(), new_eventfd()
    client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
    assert client.set_irqs(EVENTFD | MASK, INTX, 0, 1, descriptors=[unmask]) == "ENOTTY"
    assert client.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, descriptors=[unmask]) == ""
    for _ in range(3):
        _raise_intx(client)
        _raise_intx(client)
        assert signalled(eventfd) == 1
        os.eventfd_write(unmask, 1)
        assert signalled(eventfd, SECONDS) == 1
        os.eventfd_write(unmask, 1)
        assert client.read(scratch.REGISTERS, 0, 1) == b"\0"
    assert client.set_irqs(EVENTFD | UNMASK, INTX, 0, 1) == ""
    _raise_intx(client)
    os.eventfd_write(unmask, 1)
    assert client.read(scratch.REGISTERS, 0, 1) == b"\0"


def test_only_one_kind_of_interrupt_is_enabled(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd]) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, descriptors=[eventfd]) == "EINVAL"
    assert client.set_irqs(NONE | TRIGGER, INTX, 0, 0) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, descriptors=[eventfd]) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd]) == "EINVAL"


def test_a_set_that_cannot_be_resized_comes_in_messages_without_gaps(client: Client, new_eventfd: NewEventfd) -> None:
    eventfd = new_eventfd()
    assert client.set_irqs(EVENTFD | TRIGGER, MSI, 1, 1, descriptors=[eventfd]) == "EINVAL"
    assert client.set_irqs(EVENTFD | TRIGGER, MSI, 0, 2) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, MSI, 3, 1, descriptors=[eventfd]) == "EINVAL"
    assert client.set_irqs(EVENTFD | TRIGGER, MSI, 2, 1, descriptors=[eventfd]) == ""
    assert client.set_irqs(NONE | TRIGGER, MSI, 2, 1) == ""
    assert signalled(eventfd) == 1
    assert client.set_irqs(NONE | TRIGGER, MSI, 0, 0) == ""
    assert client.set_irqs(EVENTFD | TRIGGER, MSI, 2, 1, descriptors=[eventfd]) == "EINVAL"


def test_a_client_that_never_reads_its_eventfd_does_not_block_the_device(
    client: Client, new_eventfd: NewEventfd
) -> None:
    eventfd = new_eventfd()
    os.eventfd_write(eventfd, (1 << 64) - 2)  # full: a write would wait
    client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, descriptors=[eventfd])
    _raise_msix(client, 0)
    assert os.eventfd_read(eventfd) == (1 << 64) - 2
    _raise_msix(client, 0)
    assert signalled(eventfd) == 1


def test_interrupts_end_with_their_client(model: ScratchModel, new_eventfd: NewEventfd) -> None:
    eventfd, unmask = new_eventfd(), new_eventfd()
    with serving(model) as client:
        client.version()
        client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, descriptors=[eventfd])
        client.set_irqs(EVENTFD | UNMASK, INTX, 0, 1, descriptors=[unmask])
        client.write(scratch.REGISTERS, 0, b"kept")
    with serving(model) as client:
        client.version()
        _raise_intx(client)
        assert signalled(eventfd) == 0
        assert client.set_irqs(NONE | TRIGGER, INTX, 0, 1) == "EINVAL"
        assert client.set_irqs(EVENTFD | TRIGGER, MSIX, 0, 1, descriptors=[eventfd]) == ""
        assert client.read(scratch.REGISTERS, 0, 4) == b"kept"
