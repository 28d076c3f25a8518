# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's teaching device, PCI 1234:11e8 (docs/specs/edu.rst, hw/misc/edu.c): one interrupt, and DMA by its buffer.

It takes a tenth of a second for each transfer, in either direction, and tells of no fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.linux_vfio import VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX
from passthru.vfio.stubs.pci import decode_and_master, interrupts_of
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

VENDOR, DEVICE = 0x1234, 0x11E8
IRQ_STATUS, IRQ_RAISE, IRQ_ACKNOWLEDGE = 0x24, 0x60, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
DMA_RUN, DMA_FROM_DEVICE = 0x1, 0x2
DMA_BUFFER = 0x40000
_CAUSE = 0x10000  # any bit will do
# The buffer has 4096 bytes, but QEMU 7.2 aborts where a transfer ends at the very end of it.
_MOST = 4088
_HIGHEST = (1 << 28) - 1  # its property dma_mask


class Edu(Stub):
    """Its DMA registers take 4 bytes at a time too, which is what a host without 8 byte accesses makes of them."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.bus, identity.vendor, identity.device) == ("pci", VENDOR, DEVICE)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, VFIO_PCI_BAR0_REGION_INDEX)

    def prepare(self) -> None:
        decode_and_master(self.device)
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return tuple(Part(VFIO_PCI_BAR0_REGION_INDEX, at, 4, 4) for at in (DMA_SOURCE, DMA_DESTINATION, DMA_COUNT))

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(VFIO_PCI_BAR0_REGION_INDEX, 0x00, 4, 4),)

    @property
    def interrupts(self) -> dict[int, int]:
        return interrupts_of(self.device, VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX)

    def interrupt(self, index: int, number: int = 0) -> None:
        self._registers[IRQ_RAISE] = _CAUSE

    def quiet(self) -> None:
        self._registers[IRQ_ACKNOWLEDGE] = 0xFFFFFFFF

    def copy(self, source: int, destination: int, size: int) -> None:
        self._transfer(source, DMA_BUFFER, size, 0)
        self._transfer(DMA_BUFFER, destination, size, DMA_FROM_DEVICE)

    @property
    def largest_copy(self) -> int:
        return _MOST

    @property
    def highest_iova(self) -> int:
        return _HIGHEST

    def _transfer(self, source: int, destination: int, size: int, direction: int) -> None:
        registers = self._registers
        registers[DMA_SOURCE], registers[DMA_DESTINATION], registers[DMA_COUNT] = source, destination, size
        registers[DMA_COMMAND] = DMA_RUN | direction
        wait_until(lambda: not registers[DMA_COMMAND] & DMA_RUN, "the end of edu's DMA", self.SECONDS)
