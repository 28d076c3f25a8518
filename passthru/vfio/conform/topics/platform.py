# SPDX-License-Identifier: GPL-2.0-or-later
"""Platform and AMBA devices: what vfio-platform-base does otherwise than PCI's drivers, and what it has beyond them."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform import on_chip, places
from passthru.vfio.conform.irq_calls import EVENTFD, MASK, NONE, UNMASK, assign, disable, enabled, loop, rearm
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import IrqInfo

_INFO = "VFIO_DEVICE_GET_INFO: VFIO_DEVICE_FLAGS_PLATFORM, _AMBA in <linux/vfio.h>"
_REGION = "VFIO_DEVICE_GET_REGION_INFO; VFIO_REGION_INFO_FLAG_* in <linux/vfio.h>"
_MMAP = "VFIO_REGION_INFO_FLAG_MMAP; vfio_platform_common.c: only regions of whole pages may be mapped securely"
_ACCESS = "pread(2) and pwrite(2) of the device; vfio_platform_common.c: accesses of 4, 2 and 1 bytes, as they fit"
_IRQ = "VFIO_DEVICE_GET_IRQ_INFO; VFIO_IRQ_INFO_MASKABLE, _AUTOMASKED in <linux/vfio.h>: level triggered interrupts"
_AUTOMASK = "VFIO_IRQ_INFO_AUTOMASKED in <linux/vfio.h>; vfio_platform_irq.c"
_MASK = "VFIO_DEVICE_SET_IRQS: ACTION_MASK and _UNMASK in <linux/vfio.h>; vfio_platform_irq.c"
_BY_EVENTFD = "VFIO_DEVICE_SET_IRQS: DATA_EVENTFD with ACTION_MASK and _UNMASK: user->kernel signaling (irqfds)"
_RESET = "VFIO_DEVICE_RESET; vfio_platform_common.c: a device is reset when asked for, when opened and when closed"

_FLAGS = {"platform": vfio.VFIO_DEVICE_FLAGS_PLATFORM, "amba": vfio.VFIO_DEVICE_FLAGS_AMBA}
_LEVEL = vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED
_SILENCE = 0.05  # seconds for a signal to come that must not
_SECONDS = 2.0  # within which an eventfd has had its effect


@test("platform", "kernel", cites=_INFO)
def device_info_names_the_bus_that_it_is_on(case: Case) -> None:
    """The flags name the bus on which sysfs has the device, and nothing but that and whether it can be reset."""
    (bus,) = (bus for bus in _FLAGS if Path(f"/sys/bus/{bus}/devices/{case.facts.identity.name}").exists())
    flags = case.device.info().flags
    case.expect(
        flags & ~vfio.VFIO_DEVICE_FLAGS_RESET == _FLAGS[bus],
        f"flags {flags:#x} of a device of the bus {bus}, which is {_FLAGS[bus]:#x}",
    )


@test("platform", "kernel", cites=_REGION)
def regions_are_those_of_the_device_tree(case: Case) -> None:
    """There are as many regions as the device has by the device tree, each as long as there, to read and to write."""
    wanted = _places(case)
    info = case.device.info()
    case.expect(info.num_regions == len(wanted), f"{info.num_regions} regions, and {len(wanted)} in the device tree")
    both = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE
    for index, place in enumerate(wanted):
        region = case.device.region_info(index)
        case.expect(region.size == place.size, f"region {index} has {region.size:#x} bytes and not {place.size:#x}")
        case.expect(region.flags & both == both, f"region {index} has flags {region.flags:#x}")


@test("platform", "kernel", cites=_MMAP)
def whole_pages_can_be_mapped_and_nothing_else(case: Case) -> None:
    """A region can be mapped where it begins and ends with a page: otherwise others' registers would come along."""
    for index, place in enumerate(_places(case)):
        region = case.device.region_info(index)
        whole = not region.size % mmap.PAGESIZE and not (place.address or 0) % mmap.PAGESIZE
        maps = bool(region.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP)
        if place.address is None and whole:
            continue  # where it begins is another bus's to say
        where = f"region {index} of {region.size:#x} bytes" + (f" at {place.address:#x}" if place.address else "")
        case.expect(maps == whole, f"{where} {'can' if maps else 'cannot'} be mapped")


@test("platform", "stub.readable", cites=_ACCESS)
def a_long_read_is_one_of_words(case: Case) -> None:
    """Several registers read at once are what each of them reads by itself."""
    _several(case)
    for part in places.quiet(case):
        if part.width > 4 or part.size == part.width:
            continue
        together, one_by_one = case.device.read(part.region, part.offset, part.size), places.read(case.device, part)
        case.expect(
            together == one_by_one,
            f"region {part.region} at {part.offset:#x}: {together.hex()} at once, {one_by_one.hex()} one by one",
        )


@test("platform", "stub.readable", cites=_ACCESS)
def accesses_of_one_two_and_four_bytes_are_taken(case: Case) -> None:
    """A register is read by as many bytes as were asked for, and its lower bytes are the same by a narrower access."""
    for part in places.quiet(case):
        for at in range(part.offset, part.offset + part.size, part.width):
            whole = case.device.read(part.region, at, part.width)
            for size in (1, 2, 4):
                if size > part.width:
                    continue
                found = case.device.read(part.region, at, size)
                case.expect(
                    found == whole[:size],
                    f"region {part.region} at {at:#x}: {size} bytes read {found.hex()}, {part.width} {whole.hex()}",
                )


@test("platform", "kernel", "irq", cites=_IRQ)
def levels_mask_themselves(case: Case) -> None:
    """Each index is one interrupt; a level can be masked and masks itself when it is signalled, and no edge does."""
    for irq in case.irqs():
        case.expect(irq.count == 1, f"index {irq.index} has {irq.count} interrupts")
        case.expect(
            irq.flags in (vfio.VFIO_IRQ_INFO_EVENTFD, _LEVEL),
            f"index {irq.index} has flags {irq.flags:#x}, which are neither a level's nor an edge's",
        )
        assign(case.device, irq.index, [case.eventfd()])
    levels = sorted(on_chip.lines_of(case.facts.identity.name))
    told = sorted(irq.flags == _LEVEL for irq in case.irqs())
    case.expect(levels == told, f"/proc/interrupts has levels {levels}, and VFIO tells {told}")


@test("platform", "maskable", cites=_AUTOMASK)
def a_triggered_level_is_signalled_once(case: Case) -> None:
    """A level that DATA_NONE triggers is masked by that, as if the device had raised it, until it is unmasked."""
    for irq in _levels(case):
        with enabled(case, irq) as (eventfd,):
            loop(case.device, irq.index, 0, 1)
            loop(case.device, irq.index, 0, 1)
            _count(case, irq, eventfd, 1, "was triggered twice")
            rearm(case.device, irq)
            loop(case.device, irq.index)
            _count(case, irq, eventfd, 1, "was triggered once more after it was unmasked")
            rearm(case.device, irq)


@test("platform", "maskable", cites=_MASK)
def a_mask_outlives_the_eventfd(case: Case) -> None:
    """Masked before it is enabled, or while its eventfd is replaced, a level is masked until it is unmasked.

    That is how QEMU puts KVM's eventfd in the place of its own.
    """
    for irq in _levels(case):
        case.device.set_irqs(NONE | MASK, irq.index)
        first, second = case.eventfd(), case.eventfd()
        for eventfd, when in ((first, "before it was enabled"), (second, "before its eventfd was replaced")):
            assign(case.device, irq.index, [eventfd])
            loop(case.device, irq.index)
            _count(case, irq, eventfd, 0, f"was masked {when}")
        case.device.set_irqs(NONE | UNMASK, irq.index)
        loop(case.device, irq.index)
        _count(case, irq, second, 1, "was unmasked")
        disable(case.device, irq.index)


@test("platform", "maskable", cites=_BY_EVENTFD)
def an_eventfd_masks(case: Case) -> None:
    """An eventfd set to mask does so when it is written; taken away, it no longer does."""
    for irq in _levels(case):
        with enabled(case, irq) as (eventfd,):
            mask = case.eventfd()
            case.device.set_irqs(EVENTFD | MASK, irq.index, descriptors=[mask])
            loop(case.device, irq.index)
            _count(case, irq, eventfd, 1, "has an eventfd that masks it, and nobody wrote to that")
            rearm(case.device, irq)
            os.eventfd_write(mask, 1)
            loop(case.device, irq.index)
            _count(case, irq, eventfd, 0, "was masked by its eventfd")
            rearm(case.device, irq)
            case.device.set_irqs(EVENTFD | MASK, irq.index, descriptors=[-1])
            os.eventfd_write(mask, 1)
            loop(case.device, irq.index)
            _count(case, irq, eventfd, 1, "no longer has an eventfd that masks it")
            rearm(case.device, irq)


@test("platform", "maskable", cites=_BY_EVENTFD)
def an_eventfd_unmasks_what_was_triggered(case: Case) -> None:
    """An eventfd set to unmask does so each time it is written, so that a level can be signalled again."""
    for irq in _levels(case):
        with enabled(case, irq) as (eventfd,):
            unmask = case.eventfd()
            case.device.set_irqs(EVENTFD | UNMASK, irq.index, descriptors=[unmask])
            for _ in range(3):
                loop(case.device, irq.index)
                _count(case, irq, eventfd, 1, "was triggered, and unmasked by its eventfd before")
                os.eventfd_write(unmask, 1)
            case.device.set_irqs(EVENTFD | UNMASK, irq.index, descriptors=[-1])


@test("platform", "maskable", cites=_BY_EVENTFD + "; vfio_virqfd_enable in drivers/vfio/virqfd.c")
def a_second_eventfd_that_masks_is_refused(case: Case) -> None:
    """There is one eventfd that masks and one that unmasks: another one is EBUSY until the first is taken away."""
    for irq in _levels(case):
        for action, name in ((MASK, "masks"), (UNMASK, "unmasks")):
            first, second = case.eventfd(), case.eventfd()
            case.device.set_irqs(EVENTFD | action, irq.index, descriptors=[first])
            with case.refused(errno.EBUSY, what=f"a second eventfd that {name} index {irq.index}"):
                case.device.set_irqs(EVENTFD | action, irq.index, descriptors=[second])
            case.device.set_irqs(EVENTFD | action, irq.index, descriptors=[-1])
            case.device.set_irqs(EVENTFD | action, irq.index, descriptors=[second])
            case.device.set_irqs(EVENTFD | action, irq.index, descriptors=[-1])


@test("platform", "reset", "kernel", cites=_RESET)
def a_reset_reaches_the_reset_driver(case: Case) -> None:
    """VFIO_DEVICE_RESET has the device's reset driver called, once each time."""
    before = _resets(case)
    for number in (1, 2):
        case.reset()
        found = _resets(case) - before
        case.expect(found == number, f"the reset driver was called {found} times for {number} resets")


@test("platform", "reset", "kernel", cites=_RESET, fresh=True)
def opening_and_closing_reset_the_device(case: Case) -> None:
    """A device is reset when it is opened and when it is closed, so that no user finds what another one did."""
    before = _resets(case)
    opened = case.open()
    during = _resets(case) - before
    case.expect(during == 1, f"the reset driver was called {during} times when the device was opened")
    opened.close()
    after = _resets(case) - before
    case.expect(after == 2, f"the reset driver was called {after} times when the device was opened and closed")


def _places(case: Case) -> tuple[on_chip.Place, ...]:
    found = on_chip.places_of(case.facts.identity.name)
    return case.missing("no device tree tells of the device's regions") if found is None else found


def _resets(case: Case) -> int:
    found = on_chip.resets()
    return case.missing("the device's reset driver does not count; vfio-reset-stub would") if found is None else found


def _several(case: Case) -> None:
    if not any(part.width <= 4 and part.size > part.width for part in places.quiet(case)):
        case.missing("no two registers that stand side by side are known to be read without an effect")


def _levels(case: Case) -> list[IrqInfo]:
    return [irq for irq in case.irqs() if irq.flags & _LEVEL == _LEVEL]


def _count(case: Case, irq: IrqInfo, eventfd: int, wanted: int, when: str) -> None:
    found = case.signals(eventfd, _SILENCE if not wanted else _SECONDS)
    case.expect(found == wanted, f"index {irq.index}, which {when}: its eventfd was signalled {found} times")
