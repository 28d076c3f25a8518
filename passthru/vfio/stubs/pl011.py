# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm's UART PL011 (DDI 0183) in its own loopback: a byte that it received is an interrupt, a level until it is read.

QEMU's has the loopback from 9.0 on, and what is looped leaves it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

COMPATIBLE = frozenset({"arm,pl011", "passthru,pl011"})
"""The second is what a rig's tree calls it on the platform bus, where no driver of the kernel's is to take it."""
REGION, LINE = 0, 0
UARTDR, UARTFR, UARTILPR, UARTIBRD, UARTFBRD = 0x00, 0x18, 0x20, 0x24, 0x28
UARTLCR_H, UARTCR, UARTIMSC, UARTRIS, UARTICR = 0x2C, 0x30, 0x38, 0x3C, 0x44
PERIPHERAL_ID, IDS = 0xFE0, 0x20
_RECEIVED_NONE = 0x10  # UARTFR.RXFE
_FIFOS, _EIGHT_BITS = 0x10, 0x60  # UARTLCR_H.FEN, .WLEN
_LOOPED = 0x1 | 0x80 | 0x100 | 0x200  # UARTCR.UARTEN, .LBE, .TXE, .RXE
_RECEIVED, _ALL = 0x10, 0x7FF
_DEPTH = 16


class Pl011(Stub):
    """Without FIFOs where it interrupts, so that one byte does; with them where many are looped."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return not COMPATIBLE.isdisjoint(identity.compatible)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, REGION)

    def prepare(self) -> None:
        registers = self._registers
        registers[UARTCR] = 0  # line control changes only in a UART that is off
        registers[UARTIBRD], registers[UARTFBRD] = 1, 0  # loops as fast as it can
        registers[UARTLCR_H] = _EIGHT_BITS
        registers[UARTCR] = _LOOPED
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return (Part(REGION, UARTILPR, 1, 1), Part(REGION, UARTIBRD, 2, 2))

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(REGION, PERIPHERAL_ID, IDS, 4),)

    @property
    def interrupts(self) -> dict[int, int]:
        return {LINE: 1}

    def interrupt(self, index: int, number: int = 0) -> None:
        registers = self._registers
        if not registers[UARTRIS] & _RECEIVED:
            registers[UARTDR] = 0x55
            wait_until(lambda: registers[UARTRIS] & _RECEIVED, "the looped byte's interrupt", self.SECONDS)
        registers[UARTIMSC] = _RECEIVED

    def quiet(self) -> None:
        self._registers[UARTIMSC] = 0
        self._empty()
        self._registers[UARTICR] = _ALL

    def loop(self, data: bytes) -> bytes:
        registers = self._registers
        self._with_fifos(_FIFOS)
        try:
            self._empty()
            for byte in data:
                registers[UARTDR] = byte
            came = bytearray()
            for number in range(len(data)):
                wait_until(lambda: not registers[UARTFR] & _RECEIVED_NONE, f"byte {number} of the loopback")
                came.append(registers[UARTDR] & 0xFF)
            return bytes(came)
        finally:
            self._with_fifos(0)
            self.quiet()

    @property
    def largest_loop(self) -> int:
        return _DEPTH

    def _with_fifos(self, fifos: int) -> None:
        self._registers[UARTCR] = 0
        self._registers[UARTLCR_H] = _EIGHT_BITS | fifos
        self._registers[UARTCR] = _LOOPED

    def _empty(self) -> None:
        for _ in range(2 * _DEPTH):
            if self._registers[UARTFR] & _RECEIVED_NONE:
                return
            self._registers[UARTDR]
