# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO_DEVICE_SET_IRQS in words: what the tests of interrupts ask for."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import IrqInfo, VfioDevice

MOST_VECTORS = 4  # of an index that are tried; a device can have thousands

NONE, BOOL, EVENTFD = vfio.VFIO_IRQ_SET_DATA_NONE, vfio.VFIO_IRQ_SET_DATA_BOOL, vfio.VFIO_IRQ_SET_DATA_EVENTFD
MASK, UNMASK, TRIGGER = (
    vfio.VFIO_IRQ_SET_ACTION_MASK,
    vfio.VFIO_IRQ_SET_ACTION_UNMASK,
    vfio.VFIO_IRQ_SET_ACTION_TRIGGER,
)


def vectors(case: Case, irq: IrqInfo) -> int:
    """How many interrupts of an index are tried.

    Of MSI by the kernel one: without interrupt remapping a host has no more, and says so by no error.
    """
    if case.facts.transport == "kernel" and irq.index == vfio.VFIO_PCI_MSI_IRQ_INDEX:
        return 1
    return min(irq.count, MOST_VECTORS)


def assign(device: VfioDevice, index: int, eventfds: Sequence[int], start: int = 0) -> None:
    """Have interrupts signal eventfds; -1 takes one away."""
    device.set_irqs(EVENTFD | TRIGGER, index, start, len(eventfds), descriptors=eventfds)


def loop(device: VfioDevice, index: int, start: int = 0, count: int = 1) -> None:
    """Have interrupts signalled as if the device had raised them, by DATA_NONE."""
    device.set_irqs(NONE | TRIGGER, index, start, count)


def loop_where(device: VfioDevice, index: int, bools: bytes, start: int = 0) -> None:
    """The same by DATA_BOOL: those that are true."""
    device.set_irqs(BOOL | TRIGGER, index, start, len(bools), bools=bools)


def disable(device: VfioDevice, index: int) -> None:
    """Disable a whole index."""
    device.set_irqs(NONE | TRIGGER, index, 0, 0)


def rearm(device: VfioDevice, irq: IrqInfo) -> None:
    """Let an interrupt that masks itself come again."""
    if irq.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED:
        device.set_irqs(NONE | UNMASK, irq.index)


@contextmanager
def not_enabled(case: Case, what: str) -> Iterator[None]:
    """Demand that a trigger of an index that is not enabled is refused, where the bus driver knows whether it is.

    vfio-pci and its like do. vfio-platform and vfio-fsl-mc do as they are told, and there is nobody to hear of it.
    """
    refusing = case.refused(errno.EINVAL, what=what) if "pci" in case.facts.capabilities else case.may_be_refused()
    with refusing:
        yield


@contextmanager
def enabled(case: Case, irq: IrqInfo, number: int = 1) -> Iterator[list[int]]:
    """The first ``number`` interrupts of an index with an eventfd each; the index is disabled in the end."""
    eventfds = [case.eventfd() for _ in range(number)]
    assign(case.device, irq.index, eventfds)
    yield eventfds
    disable(case.device, irq.index)
