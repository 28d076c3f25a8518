# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty, the kernel's sample mediated device (samples/vfio-mdev/mtty.c), PCI 4348:3253: its first port.

It sends to itself always, takes 15 bytes at a time (16 unread ones look like none), and interrupts once for an event:
there is no level that would come again after it was unmasked. It also interrupts by MSI, although it has no capability.
"""

from __future__ import annotations

from typing import ClassVar

from passthru.vfio.linux_vfio import VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX
from passthru.vfio.stubs.stub import Identity  # noqa: TC001 - beside the class that is derived from
from passthru.vfio.stubs.uart import Uart

VENDOR, DEVICE = 0x4348, 0x3253


class Mtty(Uart):
    """A 16550A of sorts."""

    INTERRUPTS: ClassVar[tuple[int, ...]] = (VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX)

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.bus, identity.vendor, identity.device) == ("pci", VENDOR, DEVICE)

    @property
    def holds_level(self) -> bool:
        return False

    @property
    def largest_loop(self) -> int:
        return 15
