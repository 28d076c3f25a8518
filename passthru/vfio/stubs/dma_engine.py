# SPDX-License-Identifier: GPL-2.0-or-later
"""passthru's own DMA engine, PCI 5054:444d; its registers are on the page of `passthru.emulation.models.dma_engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.linux_vfio import (
    VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSI_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
)
from passthru.vfio.stubs.pci import PCI_CAP_ID_MSI, decode_and_master, find_capability, interrupts_of
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import DmaFault, Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

VENDOR, DEVICE = 0x5054, 0x444D
IDENTIFICATION = 0x00
ACKNOWLEDGE, RAISE_VECTOR = 0x64, 0x68
BUFFER_OFFSET, BUFFER_SIZE = 0x70, 0x74
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
RESULT, FAULT = 0xA0, 0xA8
START, TO_RAM = 0x1, 0x2
DONE = 1
RESULTS = {2: "nothing is mapped", 3: "this direction is not permitted", 4: "it may not master the bus", 6: "refused"}


class DmaEngine(Stub):
    """Its DMA registers take 8 bytes, or 4 and 4."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.bus, identity.vendor, identity.device) == ("pci", VENDOR, DEVICE)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, VFIO_PCI_BAR0_REGION_INDEX)

    def prepare(self) -> None:
        decode_and_master(self.device)
        self._enable_messages()
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        registers, buffer = self._registers, VFIO_PCI_BAR0_REGION_INDEX
        return (
            Part(buffer, SOURCE, 24, 4),
            Part(buffer, SOURCE, 24, 8),
            Part(buffer, registers[BUFFER_OFFSET], registers[BUFFER_SIZE], 1),
        )

    @property
    def readable(self) -> tuple[Part, ...]:
        return (
            Part(VFIO_PCI_BAR0_REGION_INDEX, IDENTIFICATION, 4, 4),
            Part(VFIO_PCI_BAR0_REGION_INDEX, BUFFER_OFFSET, 8, 4),
            *self.scratch,
        )

    @property
    def interrupts(self) -> dict[int, int]:
        indexes = VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX
        return interrupts_of(self.device, *indexes)

    def interrupt(self, index: int, number: int = 0) -> None:
        self._registers[RAISE_VECTOR] = number

    def quiet(self) -> None:
        self._registers[ACKNOWLEDGE] = 0xFFFFFFFF

    def copy(self, source: int, destination: int, size: int) -> None:
        buffer, half = self._registers[BUFFER_OFFSET], size // 2
        if half:  # in two parts: what is wrong at the end of each transfer would be put right by the way back
            self._transfer(source, buffer, half, 0)
        self._transfer(source + half, buffer + half, size - half, 0)
        self._transfer(buffer, destination, size, TO_RAM)

    @property
    def largest_copy(self) -> int:
        return self._registers[BUFFER_SIZE]

    @property
    def tells_faults(self) -> bool:
        return True

    def _transfer(self, source: int, destination: int, size: int, direction: int) -> None:
        registers = self._registers
        for register, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, size)):
            registers.put(register, value, 8)
        registers.put(COMMAND, START | direction, 8)
        wait_until(lambda: not registers[COMMAND] & START, "the end of the engine's DMA", self.SECONDS)
        if (result := registers[RESULT]) != DONE:
            why = RESULTS.get(result, f"result {result}")
            raise DmaFault(f"the engine's DMA at {registers.get(FAULT, 8):#x} failed: {why}")

    def _enable_messages(self) -> None:
        """Let all MSI vectors be used, as a guest's driver does; the kernel does it by itself, and keeps this write."""
        place = find_capability(self.device, PCI_CAP_ID_MSI)
        if place:
            config = Registers(self.device, VFIO_PCI_CONFIG_REGION_INDEX, 2)
            control = config[place + 2]
            config[place + 2] = control & ~0x70 | (control & 0x0E) << 3
