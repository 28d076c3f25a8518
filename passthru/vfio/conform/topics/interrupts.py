# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts that the device itself raises, by its stub: they come, once each, where they were sent, unless masked."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import IrqInfo, VfioDevice
    from passthru.vfio.stubs.stub import Stub

SECONDS = 2.0
"""Within which an interrupt comes."""
SILENCE = {"vfio-user": 0.01, "kernel": 0.05}
"""Seconds for one to come that must not; where the next one is counted, it is found even if it comes later."""

_SET = "VFIO_DEVICE_SET_IRQS"
_TRIGGER = f"{_SET}: VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_ACTION_TRIGGER in <linux/vfio.h>"
_MASK = f"{_SET}: VFIO_IRQ_SET_ACTION_MASK, _UNMASK in <linux/vfio.h>"
_AUTOMASK = "VFIO_IRQ_INFO_AUTOMASKED in <linux/vfio.h>: masked when it is signalled, until it is unmasked"

EVENTFD_TRIGGER = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
_NONE_TRIGGER = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
_NONE_MASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_MASK
_NONE_UNMASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK
_EVENTFD_UNMASK = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_UNMASK


class Interrupts:
    """All interrupts of one index of a device, each with an eventfd."""

    def __init__(self, case: Case, device: VfioDevice, stub: Stub, index: int) -> None:
        self.case = case
        self.device = device
        self.stub = stub
        self.index = index
        self.count = stub.interrupts[index]
        self.eventfds = [case.eventfd() for _ in range(self.count)]

    def enable(self) -> None:
        """Set all the eventfds."""
        self.device.set_irqs(EVENTFD_TRIGGER, self.index, 0, self.count, descriptors=self.eventfds)

    def disable(self) -> None:
        """Take them all away."""
        self.stub.quiet()
        self.device.set_irqs(_NONE_TRIGGER, self.index, 0, 0)

    def came(self, number: int, when: str, within: float = SECONDS) -> None:
        """Demand that this interrupt came once and no other did."""
        counts = self._counts(number, within)
        wanted = [int(each == number) for each in range(self.count)]
        self.case.expect(
            counts == wanted, f"interrupt {number} of index {self.index} {when}: the eventfds were signalled {counts}"
        )

    def heard_out(self) -> None:
        """Let come what a message kept pending while it was masked, which it may once."""
        counts = self._counts(0, SILENCE[self.device.transport])
        self.case.expect(max(counts) <= 1, f"what was pending of index {self.index} came as often as {counts}")

    def silent(self, when: str) -> None:
        """Demand that none came."""
        counts = self._counts(0, SILENCE[self.device.transport])
        self.case.expect(not any(counts), f"{when}, the eventfds of index {self.index} were signalled {counts}")

    def _counts(self, first: int, within: float) -> list[int]:
        awaited = self.case.signals(self.eventfds[first], within, self.device)
        return [awaited if each == first else self.case.signals(fd) for each, fd in enumerate(self.eventfds)]


def _each(case: Case) -> Iterator[Interrupts]:
    """Each index of the shared opening by which the stub can interrupt; disabled in the end."""
    for index in case.stub.interrupts:
        interrupts = Interrupts(case, case.device, case.stub, index)
        interrupts.enable()
        try:
            yield interrupts
        finally:
            interrupts.disable()


def _maskable(case: Case) -> Iterator[tuple[Interrupts, IrqInfo]]:
    found = False
    for interrupts in _each(case):
        info = case.device.irq_info(interrupts.index)
        if info.flags & vfio.VFIO_IRQ_INFO_MASKABLE:
            found = True
            yield interrupts, info
    if not found:
        case.missing("the device raises no interrupt that can be masked")


@test("stub.interrupt", cites=_TRIGGER, fresh=True)
def a_real_interrupt_comes(case: Case) -> None:
    """Each interrupt that the device raises signals its own eventfd, once, and no other."""
    indexes = case.stub_of(opened := case.open()).interrupts
    opened.close()
    for index in indexes:
        opened = case.open()
        interrupts = Interrupts(case, opened.device, case.stub_of(opened), index)
        interrupts.enable()
        interrupts.silent("before the device interrupted")
        for number in range(interrupts.count):
            interrupts.stub.interrupt(index, number)
            interrupts.came(number, "was raised")
            interrupts.stub.quiet()
        interrupts.silent("after all were taken back")
        opened.close()


@test("stub.interrupt", cites=_TRIGGER)
def real_interrupts_are_counted(case: Case) -> None:
    """As many signals come as the device raised interrupts, one after the other."""
    for interrupts in _each(case):
        masks = case.device.irq_info(interrupts.index).flags & vfio.VFIO_IRQ_INFO_AUTOMASKED
        for _ in range(20):
            interrupts.stub.interrupt(interrupts.index)
            interrupts.came(0, "was raised")
            interrupts.stub.quiet()
            if masks:
                case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        interrupts.silent("after all were taken back")


@test("stub.interrupt", cites=f"{_SET}: VFIO_IRQ_SET_DATA_NONE, ACTION_TRIGGER, count 0 disables an index")
def a_real_interrupt_of_a_disabled_index_is_not_signalled(case: Case) -> None:
    """Once an index is disabled, its eventfds hear nothing more; enabled again, they do."""
    for interrupts in _each(case):
        interrupts.disable()
        interrupts.stub.interrupt(interrupts.index)
        interrupts.silent("although the index was disabled")
        interrupts.stub.quiet()
        interrupts.enable()
        interrupts.heard_out()
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after the index was enabled again")


@test("stub.interrupt", cites=f"{_TRIGGER}; a new eventfd takes the place of the old one")
def a_real_interrupt_goes_to_the_eventfd_set_last(case: Case) -> None:
    """Where an eventfd is replaced by another, only that one is signalled."""
    for interrupts in _each(case):
        old = interrupts.eventfds[0]
        interrupts.eventfds[0] = case.eventfd()
        case.device.set_irqs(EVENTFD_TRIGGER, interrupts.index, 0, 1, descriptors=interrupts.eventfds[:1])
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after its eventfd was replaced")
        case.expect(not case.signals(old), f"the eventfd that was replaced, of index {interrupts.index}, was signalled")


@test("stub.interrupt", "kernel", cites=f"{_TRIGGER}; -1 takes away the eventfd of one interrupt")
def a_real_interrupt_without_an_eventfd_harms_no_other(case: Case) -> None:
    """An interrupt whose eventfd was taken away is not heard, and its neighbours are."""
    found = False
    for interrupts in _each(case):
        if interrupts.count < 2:
            continue
        found = True
        case.device.set_irqs(EVENTFD_TRIGGER, interrupts.index, 1, 1, descriptors=[-1])
        interrupts.stub.interrupt(interrupts.index, 1)
        interrupts.silent("although the eventfd of that interrupt was taken away")
        interrupts.stub.interrupt(interrupts.index, 0)
        interrupts.came(0, "was raised after its neighbour's eventfd was taken away")
        case.device.set_irqs(EVENTFD_TRIGGER, interrupts.index, 1, 1, descriptors=interrupts.eventfds[1:2])
        interrupts.stub.quiet()
        interrupts.heard_out()
        interrupts.stub.interrupt(interrupts.index, 1)
        interrupts.came(1, "was raised after its eventfd was set again")
    if not found:
        case.missing("the device has no index with several interrupts")


@test("stub.interrupt", "maskable", cites=_AUTOMASK)
def automasked_interrupts_wait_to_be_unmasked(case: Case) -> None:
    """An automasked interrupt is signalled once; unmasked, a level that is still there is signalled again.

    A device without levels (mtty) loses what it raises while it is masked, and interrupts again when it is not.
    """
    found = False
    for interrupts, info in _maskable(case):
        if not info.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED:
            continue
        found = True
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised")
        interrupts.stub.interrupt(interrupts.index)
        interrupts.silent("while the interrupt was automasked")
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        if interrupts.stub.holds_level:
            interrupts.came(0, "was unmasked while its level was still there")
        else:
            interrupts.silent("although there is no level")
        interrupts.stub.quiet()
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        interrupts.silent("after the device took its interrupt back")
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after it was unmasked")
    if not found:
        case.missing("the device raises no interrupt that is automasked")


@test("stub.interrupt", "maskable", cites=_MASK)
def masked_interrupts_are_held_back(case: Case) -> None:
    """A masked interrupt is not signalled before it is unmasked; then a level that is still there is, once."""
    for interrupts, _ in _maskable(case):
        case.device.set_irqs(_NONE_MASK, interrupts.index)
        interrupts.stub.interrupt(interrupts.index)
        interrupts.silent("while the interrupt was masked")
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        if interrupts.stub.holds_level:
            interrupts.came(0, "was unmasked while its level was there")
        else:
            interrupts.silent("although there is no level")
        interrupts.stub.quiet()
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        interrupts.silent("after the device took its interrupt back")


@test("stub.interrupt", "maskable", cites=_MASK)
def a_masked_interrupt_that_was_taken_back_is_not_signalled(case: Case) -> None:
    """A level that came and went while it was masked is not signalled when it is unmasked.

    vfio-pci and others look at the line then; nobody can know of a level that is no more.
    """
    for interrupts, info in _maskable(case):
        if not info.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED:
            continue
        case.device.set_irqs(_NONE_MASK, interrupts.index)
        interrupts.stub.interrupt(interrupts.index)
        interrupts.stub.quiet()
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        interrupts.silent("after a level that was gone before it was unmasked")
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after that")


@test("stub.interrupt", "maskable", cites=f"{_MASK} with VFIO_IRQ_SET_DATA_EVENTFD: unmasked by the eventfd")
def an_eventfd_unmasks_a_real_interrupt(case: Case) -> None:
    """An eventfd set to unmask does so each time it is written; taken away, it no longer does."""
    found = False
    for interrupts, info in _maskable(case):
        if not info.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED or not interrupts.stub.holds_level:
            continue
        unmask = case.eventfd()
        try:
            case.device.set_irqs(_EVENTFD_UNMASK, interrupts.index, descriptors=[unmask])
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            continue
        found = True
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised")
        for _ in range(3):
            _write(unmask)
            interrupts.came(0, "was unmasked by its eventfd while its level was there")
        interrupts.stub.quiet()
        _write(unmask)
        interrupts.silent("after the device took its interrupt back")
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after its eventfd unmasked it")
        if case.device.transport == "kernel":
            case.device.set_irqs(_EVENTFD_UNMASK, interrupts.index, descriptors=[-1])
            _write(unmask)
            interrupts.silent("although the eventfd that unmasks was taken away")
    if not found:
        case.missing("no interrupt with a level can be unmasked by an eventfd")


@test("stub.interrupt", "maskable", cites=f"{_MASK}; masks belong to what is enabled")
def an_interrupt_that_is_enabled_anew_is_not_masked(case: Case) -> None:
    """What was masked when its index was disabled is signalled once the index is enabled again.

    Not so by vfio-platform, whose interrupts are there, and masked or not, whether or not they are enabled.
    """
    if "platform" in case.facts.capabilities:
        case.missing("a mask of vfio-platform stays until it is taken away")
    for interrupts, _ in _maskable(case):
        case.device.set_irqs(_NONE_MASK, interrupts.index)
        interrupts.disable()
        interrupts.enable()
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after its index was disabled while it was masked, and enabled again")


@test("stub.interrupt", "reset", cites="VFIO_DEVICE_RESET; a device that was reset interrupts for nothing")
def a_reset_takes_a_real_interrupt_back(case: Case) -> None:
    """After a reset the device no longer interrupts for what it did before, and can interrupt anew."""
    for interrupts in _each(case):
        if not case.device.irq_info(interrupts.index).flags & vfio.VFIO_IRQ_INFO_AUTOMASKED:
            continue
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised")
        case.device.reset()
        interrupts.stub.prepare()
        case.device.set_irqs(_NONE_UNMASK, interrupts.index)
        interrupts.silent("after a reset")
        interrupts.stub.interrupt(interrupts.index)
        interrupts.came(0, "was raised after a reset")


def _write(eventfd: int) -> None:
    os.eventfd_write(eventfd, 1)
