# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's conventional serial card, PCI 1b36:0002 (docs/specs/pci-serial.rst, hw/char/serial.c): INTx, and I/O ports."""

from __future__ import annotations

from passthru.vfio.stubs.stub import Identity  # noqa: TC001 - beside the class that is derived from
from passthru.vfio.stubs.uart import Uart

VENDOR, DEVICE = 0x1B36, 0x0002


class PciSerial(Uart):
    """One 16550A; its line is somewhere else, and nothing is sent there."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.bus, identity.vendor, identity.device) == ("pci", VENDOR, DEVICE)
