# SPDX-License-Identifier: GPL-2.0-or-later
"""How a device's interrupts are brought back to their beginning after a test: none enabled, none masked.

Nothing in the interface does it everywhere. vfio-pci disables an index, and its masks with it; vfio-platform keeps a
mask whatever is enabled; vfio-fsl-mc crashes the kernel where an index is disabled that nobody enabled before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.capabilities import LOST
from passthru.vfio.conform.known_defects import FSL_MC_DISABLES_BADLY, disables_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.device import IrqInfo, VfioDevice

    Step = Callable[[VfioDevice, IrqInfo], None]


def disable(device: VfioDevice, irq: IrqInfo) -> None:
    """Disable a whole index."""
    device.set_irqs(vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER, irq.index, 0, 0)


def take_away(device: VfioDevice, irq: IrqInfo) -> None:
    """Take the eventfds of an index away; by vfio-fsl-mc it can be disabled from then on."""
    flags = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
    device.set_irqs(flags, irq.index, 0, irq.count, descriptors=[-1] * irq.count)


def unmask(device: VfioDevice, irq: IrqInfo) -> None:
    """Unmask what can be masked."""
    if irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE:
        device.set_irqs(vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK, irq.index)


def steps_for(facts: Facts) -> tuple[Step, ...]:
    """What settles an index of a target, one after the other."""
    if not disables_safely(facts):
        return ()
    return (disable, unmask) if "platform" in facts.capabilities else (disable,)


def steps_before(facts: Facts) -> tuple[Step, ...]:
    """What makes it safe to disable an index of a target that nobody enabled."""
    return (take_away,) if FSL_MC_DISABLES_BADLY.meets(facts) else ()


def settle(device: VfioDevice, irqs: Iterable[IrqInfo], steps: Iterable[Step]) -> None:
    """Take the steps for each index. Raises LOST where the device went away."""
    for irq in irqs:
        for step in steps:
            try:
                step(device, irq)
            except LOST:
                raise
            except OSError:  # vfio-pci: what is not enabled cannot be disabled
                continue
