# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO_DEVICE_SET_IRQS in every form, judged by loopback: "simulate hardware triggering". What devices really raise,
and masks, which loopback passes by in vfio-pci, are judged in `interrupts`."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.irq_calls import (
    BOOL,
    EVENTFD,
    MASK,
    NONE,
    TRIGGER,
    UNMASK,
    assign,
    disable,
    enabled,
    loop,
    loop_where,
    not_enabled,
    rearm,
    vectors,
)
from passthru.vfio.conform.registry import test
from passthru.vfio.device import Call

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import IrqInfo

_SET = "VFIO_DEVICE_SET_IRQS in <linux/vfio.h>"
_LOOP = _SET + ": DATA_BOOL or DATA_NONE can be used with ACTION_TRIGGER to perform kernel level interrupt loopback"
_DEASSIGN = _SET + ": a value of -1 can be used to de-assign interrupts if already assigned"
_DISABLE = _SET + ": the index can be disabled as a whole with flags = (DATA_NONE|ACTION_TRIGGER), count = 0"
_SPARSE = _SET + ": -1 can be used to skip un-assigned interrupts; data = {fd1, -1, fd2}"
_NORESIZE = "VFIO_IRQ_INFO_NORESIZE in <linux/vfio.h>: new subindexes cannot be enabled without first disabling all"
_MASKABLE = "VFIO_IRQ_INFO_MASKABLE in <linux/vfio.h>"
_CHECKED = _SET + "; vfio_set_irqs_validate_and_prepare in drivers/vfio/vfio_main.c"

_HUGE = 0xFFFFFFFF


@test("irq", cites=_LOOP)
def data_none_signals_the_eventfd(case: Case) -> None:
    """Each trigger by DATA_NONE signals the interrupt's eventfd once."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            _quiet(case, irq, eventfd, "was given an eventfd")
            for _ in range(3):
                _loops(case, irq, eventfd)


@test("irq", cites=_LOOP)
def data_none_signals_a_range(case: Case) -> None:
    """A trigger by DATA_NONE signals the interrupts from start on, count of them, and no others."""
    for irq in case.irqs():
        number = vectors(case, irq)
        with enabled(case, irq, number) as eventfds:
            for start in range(number):
                for count in range(1, number - start + 1):
                    loop(case.device, irq.index, start, count)
                    wanted = [int(start <= at < start + count) for at in range(number)]
                    _signalled(case, irq, eventfds, wanted, f"start {start} count {count}")


@test("irq", cites=_LOOP)
def data_bool_signals_what_is_true(case: Case) -> None:
    """A trigger by DATA_BOOL signals the interrupts whose byte is true, and no others."""
    for irq in case.irqs():
        number = vectors(case, irq)
        with enabled(case, irq, number) as eventfds:
            for bits in range(1 << number):
                bools = bytes(bits >> at & 1 for at in range(number))
                loop_where(case.device, irq.index, bools)
                _signalled(case, irq, eventfds, list(bools), f"bools {bools.hex()}")


@test("irq", cites=_SET)
def eventfd_replaced_by_another_is_let_go(case: Case) -> None:
    """Given another eventfd, an interrupt signals that one, and the first no more."""
    for irq in case.irqs():
        with enabled(case, irq) as (first,):
            second = case.eventfd()
            assign(case.device, irq.index, [second])
            _loops(case, irq, second)
            _quiet(case, irq, first, "was given another eventfd")


@test("irq", cites=_DEASSIGN)
def eventfd_taken_away_by_minus_one(case: Case) -> None:
    """After -1, the interrupt's eventfd is signalled no more; given it again, it is."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            assign(case.device, irq.index, [-1])
            with case.may_be_refused():  # mtty: without its only interrupt, the index is disabled
                loop(case.device, irq.index)
                rearm(case.device, irq)  # vfio-platform: what nobody hears masks itself all the same
            _quiet(case, irq, eventfd, "was given -1")
            assign(case.device, irq.index, [eventfd])
            _loops(case, irq, eventfd)


@test("irq", cites=_DEASSIGN)
def eventfd_taken_away_leaves_the_others(case: Case) -> None:
    """Taking the eventfd of one interrupt away leaves the others of its index theirs."""
    tried = False
    for irq in case.irqs():
        number = vectors(case, irq)
        if number < 2:
            continue
        tried = True
        with enabled(case, irq, number) as eventfds:
            assign(case.device, irq.index, [-1], start=1)
            loop(case.device, irq.index, 0, number)
            _signalled(case, irq, eventfds, [int(at != 1) for at in range(number)], "subindex 1 was given -1")
    _some(case, tried, 2)


@test("irq", cites=_SPARSE)
def eventfd_skipped_by_minus_one(case: Case) -> None:
    """The eventfds {fd1, -1, fd2} enable the first and the third interrupt."""
    tried = False
    for irq in case.irqs():
        if vectors(case, irq) < 3:
            continue
        tried = True
        first, third = case.eventfd(), case.eventfd()
        assign(case.device, irq.index, [first, -1, third])
        loop(case.device, irq.index, 0, 3)
        _signalled(case, irq, [first, third], [1, 1], "count 3")
        disable(case.device, irq.index)
    _some(case, tried, 3)


@test("irq", cites=_DISABLE)
def index_disabled_signals_nothing(case: Case) -> None:
    """A disabled index signals nothing; a trigger of it is EINVAL by PCI's drivers, and without effect by others."""
    for irq in case.irqs():
        number = vectors(case, irq)
        with enabled(case, irq, number) as eventfds:
            disable(case.device, irq.index)
            with not_enabled(case, f"a trigger of index {irq.index}, which was disabled"):
                loop(case.device, irq.index, 0, number)
                rearm(case.device, irq)
            _signalled(case, irq, eventfds, [0] * number, "it was disabled")
            assign(case.device, irq.index, eventfds)


@test("irq", cites=_DISABLE)
def index_can_be_enabled_again(case: Case) -> None:
    """A disabled index can be enabled again, with fewer interrupts and with more."""
    for irq in case.irqs():
        number = vectors(case, irq)
        for wanted in (number, 1, number):
            with enabled(case, irq, wanted) as eventfds:
                loop(case.device, irq.index, 0, wanted)
                _signalled(case, irq, eventfds, [1] * wanted, f"count {wanted}")


@test("irq", cites=_LOOP + "; once a signaling mechanism is set")
def an_unassigned_interrupt_is_not_triggered(case: Case) -> None:
    """A trigger of an index that nobody enabled is EINVAL by PCI's drivers, and by others nothing comes of it."""
    for irq in case.irqs():
        with not_enabled(case, f"a trigger of index {irq.index}, which nobody enabled"):
            loop(case.device, irq.index)
            rearm(case.device, irq)
        with enabled(case, irq) as (eventfd,):
            _quiet(case, irq, eventfd, "was given an eventfd after that")
            _loops(case, irq, eventfd)


@test("irq", cites=_NORESIZE)
def subindex_beyond_a_noresize_set_is_refused(case: Case) -> None:
    """With NORESIZE, an interrupt outside the set that was enabled is EINVAL; the set works as before.

    By vfio-user a set can come in several messages, each at the end of the one before: there a gap is what is refused.
    """
    tried = False
    gap = int(case.facts.transport == "vfio-user")
    for irq in case.irqs():
        if not irq.flags & vfio.VFIO_IRQ_INFO_NORESIZE or irq.count < 2 + gap:
            continue
        tried = True
        with enabled(case, irq) as (eventfd,):
            late = case.eventfd()
            with case.refused(errno.EINVAL, what=f"enabling subindex {1 + gap} of index {irq.index} after subindex 0"):
                assign(case.device, irq.index, [late], start=1 + gap)
            _loops(case, irq, eventfd)
            _quiet(case, irq, late, "was refused")
    _some(case, tried, 2 + gap)


@test("irq", cites=_NORESIZE)
def subindex_is_added_without_noresize(case: Case) -> None:
    """Without NORESIZE, an interrupt can be enabled beside those that are, whose eventfds stay."""
    tried = False
    for irq in case.irqs():
        if irq.flags & vfio.VFIO_IRQ_INFO_NORESIZE or vectors(case, irq) < 2:
            continue
        tried = True
        number = vectors(case, irq)
        with enabled(case, irq) as eventfds:
            for at in range(1, number):
                eventfds.append(case.eventfd())
                assign(case.device, irq.index, eventfds[-1:], start=at)
            loop(case.device, irq.index, 0, number)
            _signalled(case, irq, eventfds, [1] * number, f"count {number}")
    _some(case, tried, 2)


@test("maskable", cites=_MASKABLE)
def mask_and_unmask_are_taken(case: Case) -> None:
    """An interrupt that is MASKABLE is masked and unmasked by DATA_NONE and DATA_BOOL, and signals afterwards."""
    for irq in _maskable(case):
        with enabled(case, irq) as (eventfd,):
            for data, bools in ((NONE, b""), (BOOL, b"\1")):
                case.device.set_irqs(data | MASK, irq.index, bools=bools)
                case.device.set_irqs(data | UNMASK, irq.index, bools=bools)
                _loops(case, irq, eventfd)


@test("maskable", "pci", cites=_MASKABLE)
def mask_of_what_is_not_enabled_is_refused(case: Case) -> None:
    """Masking and unmasking an index of a PCI device that nobody enabled is EINVAL."""
    for irq in _maskable(case):
        for action, name in ((MASK, "masking"), (UNMASK, "unmasking")):
            with case.refused(errno.EINVAL, what=f"{name} index {irq.index}, which nobody enabled"):
                case.device.set_irqs(NONE | action, irq.index)


@test("irq", cites=_MASKABLE)
def mask_is_refused_where_nothing_masks(case: Case) -> None:
    """An index that is not MASKABLE refuses to be masked and unmasked, and signals as before."""
    tried = False
    for irq in case.irqs():
        if irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE:
            continue
        tried = True
        with enabled(case, irq) as (eventfd,):
            for action, name in ((MASK, "masking"), (UNMASK, "unmasking")):
                with case.refused(what=f"{name} index {irq.index}, whose flags are {irq.flags:#x}"):
                    case.device.set_irqs(NONE | action, irq.index)
            _loops(case, irq, eventfd)
    if not tried:
        case.missing("every interrupt can be masked")


@test("maskable", cites=_SET + ": ACTION_[UN]MASK specify user->kernel signaling (irqfds)")
def unmask_by_eventfd_is_taken_or_not_there(case: Case) -> None:
    """An eventfd for UNMASK is taken, or is ENOTTY; once signalled, the interrupt signals; -1 takes it away."""
    without = []
    for irq in _maskable(case):
        with enabled(case, irq) as (eventfd,):
            unmask = case.eventfd()
            try:
                case.device.set_irqs(EVENTFD | UNMASK, irq.index, descriptors=[unmask])
            except OSError as error:
                case.expect(error.errno == errno.ENOTTY, f"an unmask eventfd of index {irq.index} met {error}")
                without.append(str(irq.index))
                continue
            for _ in range(2):
                loop(case.device, irq.index)
                case.expect(case.signals(eventfd) == 1, f"index {irq.index} did not signal after its unmask eventfd")
                os.eventfd_write(unmask, 1)
            case.device.set_irqs(EVENTFD | UNMASK, irq.index, descriptors=[-1])
            _loops(case, irq, eventfd)
    if without and len(without) == len(_maskable(case)):
        case.missing(f"no eventfd can unmask the indexes {', '.join(without)}")


@test("irq", cites=_CHECKED)
def bad_indexes_are_refused(case: Case) -> None:
    """An index that the device has not got is EINVAL."""
    for index in (case.device.info().num_irqs, 1 << 31, _HUGE):
        for flags in (NONE | TRIGGER, NONE | MASK, NONE | UNMASK):
            with case.refused(errno.EINVAL, what=f"SET_IRQS of index {index:#x} with flags {flags:#x}"):
                case.device.set_irqs(flags, index)


@test("irq", cites=_CHECKED)
def bad_ranges_are_refused_and_change_nothing(case: Case) -> None:
    """Interrupts beyond the count of an index, and sums that wrap around, are EINVAL; what was enabled still works."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            for start, count in (
                (irq.count, 1),
                (0, irq.count + 1),
                (irq.count, _HUGE),
                (_HUGE, 1),
                (1, _HUGE),
                (_HUGE - 1, 2),
                (1 << 31, 1 << 31),
            ):
                what = f"a trigger of index {irq.index}, start {start:#x} count {count:#x} of {irq.count}"
                with case.refused(errno.EINVAL, what=what):
                    loop(case.device, irq.index, start, count)
                _quiet(case, irq, eventfd, f"was refused ({what})")
            _loops(case, irq, eventfd)


@test("irq", cites=_CHECKED)
def bad_flags_are_refused_and_change_nothing(case: Case) -> None:
    """Flags that are unknown, with no kind of data or with two, are EINVAL; what was enabled still works."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            for flags in (
                TRIGGER,
                NONE | BOOL | TRIGGER,
                NONE | EVENTFD | TRIGGER,
                NONE | BOOL | EVENTFD | TRIGGER,
                NONE | TRIGGER | 1 << 6,
                NONE | TRIGGER | 1 << 31,
                0,
            ):
                with case.refused(errno.EINVAL, what=f"SET_IRQS of index {irq.index} with flags {flags:#x}"):
                    _raw(case, flags, irq.index, data=b"\1\0\0\0")
                _quiet(case, irq, eventfd, f"was refused (flags {flags:#x})")
            _loops(case, irq, eventfd)


@test("irq", cites=_SET + ": the operation performs the specified action")
def bad_actions_do_nothing(case: Case) -> None:
    """No action, and several at once, are refused or do nothing; what was enabled still works."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            for actions in (0, MASK | UNMASK, MASK | TRIGGER, UNMASK | TRIGGER, MASK | UNMASK | TRIGGER):
                with case.may_be_refused():
                    case.device.set_irqs(NONE | actions, irq.index)
                _quiet(case, irq, eventfd, f"had no one action (flags {NONE | actions:#x})")
            _loops(case, irq, eventfd)


@test("irq", cites=_CHECKED)
def bad_argsz_is_refused_and_changes_nothing(case: Case) -> None:
    """An argsz without room for the structure or for its data is EINVAL; what was enabled still works."""
    for irq in case.irqs():
        with enabled(case, irq) as (eventfd,):
            for flags, argsz in ((NONE | TRIGGER, 0), (NONE | TRIGGER, 19), (BOOL | TRIGGER, 20)):
                with case.refused(errno.EINVAL, what=f"SET_IRQS with flags {flags:#x} and argsz {argsz}"):
                    _raw(case, flags, irq.index, argsz=argsz)
            _quiet(case, irq, eventfd, "was refused")
            _loops(case, irq, eventfd)


@test("irq", cites=_SET + ": DATA_EVENTFD binds the specified ACTION to the provided eventfd")
def bad_descriptors_are_refused(case: Case) -> None:
    """A descriptor that is no eventfd is refused; the index can be enabled afterwards."""
    for irq in case.irqs():
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        case.keep(partial(os.close, null))
        with case.refused(what=f"/dev/null as an eventfd of index {irq.index}"):
            assign(case.device, irq.index, [null])
        with enabled(case, irq) as (eventfd,):
            _loops(case, irq, eventfd)


def _maskable(case: Case) -> list[IrqInfo]:
    return [irq for irq in case.irqs() if irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE]


def _raw(case: Case, flags: int, index: int, *, argsz: int | None = None, data: bytes = b"") -> None:
    size = vfio.IRQ_SET.size + len(data) if argsz is None else argsz
    case.device.call(Call.SET_IRQS, vfio.IRQ_SET.pack(size, flags, index, 0, 1) + data)


def _loops(case: Case, irq: IrqInfo, eventfd: int) -> None:
    """A trigger by DATA_NONE signals once; afterwards it can again."""
    loop(case.device, irq.index)
    _signalled(case, irq, [eventfd], [1], "start 0 count 1")


def _signalled(case: Case, irq: IrqInfo, eventfds: list[int], wanted: list[int], after: str) -> None:
    found = [case.signals(eventfd) for eventfd in eventfds]
    case.expect(
        found == wanted, f"index {irq.index} ({after}): the eventfds were signalled {found}, not {wanted} times"
    )
    if any(found):
        rearm(case.device, irq)


def _quiet(case: Case, irq: IrqInfo, eventfd: int, after: str) -> None:
    found = case.signals(eventfd)
    case.expect(not found, f"index {irq.index} signalled {found} times an eventfd that {after}")


def _some(case: Case, tried: bool, number: int) -> None:
    if not tried:
        case.missing(f"no such index has {number} interrupts")
