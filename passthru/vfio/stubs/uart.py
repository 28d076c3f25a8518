# SPDX-License-Identifier: GPL-2.0-or-later
"""A 16550A in a region of a PCI device: an interrupt for its empty transmitter, and its own loopback.

Names are those of <linux/serial_reg.h>.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from passthru.vfio.linux_vfio import VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX
from passthru.vfio.stubs.pci import decode_and_master, interrupts_of
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

UART_RX = UART_TX = 0
UART_IER, UART_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR = 1, 2, 3, 4, 5, 6, 7
UART_IIR = UART_FCR
UART_IER_THRI = 0x02
UART_FCR_ENABLE_FIFO, UART_FCR_CLEAR_RCVR, UART_FCR_CLEAR_XMIT = 0x01, 0x02, 0x04
UART_LCR_WLEN8 = 0x03
UART_MCR_OUT2, UART_MCR_LOOP = 0x08, 0x10
UART_LSR_DR = 0x01


class Uart(Stub):
    """Its transmitter is empty at once in loopback, or as long as nothing is sent, so its interrupt is a level."""

    INTERRUPTS: ClassVar[tuple[int, ...]] = (VFIO_PCI_INTX_IRQ_INDEX,)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, VFIO_PCI_BAR0_REGION_INDEX, 1)

    def prepare(self) -> None:
        decode_and_master(self.device)
        registers = self._registers
        registers[UART_LCR] = UART_LCR_WLEN8
        registers[UART_IER] = 0
        registers[UART_MCR] = UART_MCR_OUT2  # without which real cards interrupt nobody
        self._empty()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return (Part(VFIO_PCI_BAR0_REGION_INDEX, UART_SCR, 1, 1),)

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(VFIO_PCI_BAR0_REGION_INDEX, UART_LCR, 2, 1), *self.scratch)

    @property
    def interrupts(self) -> dict[int, int]:
        return interrupts_of(self.device, *self.INTERRUPTS)

    def interrupt(self, index: int, number: int = 0) -> None:
        self.quiet()
        self._registers[UART_IER] = UART_IER_THRI

    def quiet(self) -> None:
        self._registers[UART_IER] = 0

    def loop(self, data: bytes) -> bytes:
        registers = self._registers
        before = registers[UART_MCR]
        registers[UART_MCR] = before | UART_MCR_LOOP
        try:
            self._empty()
            for byte in data:
                registers[UART_TX] = byte
            came = bytearray()
            for number in range(len(data)):
                wait_until(lambda: registers[UART_LSR] & UART_LSR_DR, f"byte {number} of the loopback", self.SECONDS)
                came.append(registers[UART_RX])
            return bytes(came)
        finally:
            self._empty()
            registers[UART_MCR] = before

    @property
    def largest_loop(self) -> int:
        return 16

    def _empty(self) -> None:
        self._registers[UART_FCR] = UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT
