# SPDX-License-Identifier: GPL-2.0-or-later
"""Eventfds of VFIO's become the messages that the guest asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation import copy_registers as registers
from passthru.emulation.fsl_mc_bridge.interrupts import MOST
from passthru.emulation.fsl_mc_bridge.places import QUEUE_STRIDE
from passthru.emulation.mc_status import Status
from tests.unit.emulation.fsl_mc_bridge.made_host import message, region
from tests.unit.emulation.shared_ram.mc_driver import OPEN_DPRC, REGION, SET_IRQ, SET_OBJECT_IRQ, words

if TYPE_CHECKING:
    from tests.unit.emulation.fsl_mc_bridge.made_host import MadeGuest, MadeHost

TRANSLATER = 0x8090040
ENGINE = QUEUE_STRIDE
"""The registers of dpio.0 in the guest's window."""


def work(guest: MadeGuest) -> None:
    """What the rounds do when descriptors may be readable."""
    for each in tuple(guest.watched.values()):
        each()


def test_a_signal_is_one_message(guest: MadeGuest, host: MadeHost) -> None:
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    guest.ok(SET_IRQ, token, message(5, TRANSLATER))
    guest.ok(SET_OBJECT_IRQ, token, message(6, TRANSLATER, of=("dpni", 0)))
    host.signal("dprc.2")
    work(guest)
    assert guest.written == [(TRANSLATER, 5)]
    host.signal("dpni.0")
    host.signal("dpni.0")  # before anybody looks: as with messages, one
    work(guest)
    assert guest.written == [(TRANSLATER, 5), (TRANSLATER, 6)]


def test_vfio_is_asked_once(guest: MadeGuest, host: MadeHost) -> None:
    """It cannot take an interrupt away safely, so the same eventfd serves whatever the guest says later."""
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    for value in (5, 6):
        guest.ok(SET_IRQ, token, message(value, TRANSLATER))
    assert host.devices["dprc.2"].asked == 1
    host.signal("dprc.2")
    work(guest)
    assert guest.written == [(TRANSLATER, 6)]


def test_a_message_that_was_taken_away(guest: MadeGuest, host: MadeHost) -> None:
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    guest.ok(SET_IRQ, token, message(5, TRANSLATER))
    guest.ok(SET_IRQ, token, message(0, 0))
    host.signal("dprc.2")
    work(guest)
    assert guest.written == []


def test_an_object_without_a_device(guest: MadeGuest, host: MadeHost) -> None:
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    guest.ok(SET_OBJECT_IRQ, token, message(5, TRANSLATER, of=("dpbp", 9)))
    assert guest.watched == {}


def test_registers_are_in_sight_before_their_interrupt(guest: MadeGuest, host: MadeHost) -> None:
    """The eventfd may be found before the doorbell's answer is."""
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    guest.ok(REGION, token, region("dpio", 0))
    guest.ok(SET_OBJECT_IRQ, token, message(5, TRANSLATER, of=("dpio", 0)))
    guest.queues.put(ENGINE + registers.RAISE, 0x100)
    assert guest.bridge.look()
    assert guest.queues.get(ENGINE + registers.RAISE) == 0x100
    host.software.model.look()
    host.signal("dpio.0")
    work(guest)
    assert guest.written == [(TRANSLATER, 5)]
    assert guest.queues.get(ENGINE + registers.RAISE) == 0
    assert guest.queues.get(ENGINE + registers.CAUSES) == 0x100


def test_what_is_remembered_ends(guest: MadeGuest, host: MadeHost) -> None:
    token = guest.ok(OPEN_DPRC, 0, words(2)).token
    for number in range(MOST):
        guest.ok(SET_OBJECT_IRQ, token, message(1, TRANSLATER, of=("dpbp", 100 + number)))
    more = guest.send(SET_OBJECT_IRQ, token, message(1, TRANSLATER, of=("dpbp", 99)))
    assert more.status is Status.CONFIG_ERROR
