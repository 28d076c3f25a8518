# SPDX-License-Identifier: GPL-2.0-or-later
"""One port of mtty: a 16550A of sorts, whose transmitted bytes come back in its own receive FIFO.

Quirks of the real one are kept: 16 unread bytes look like none, for emptiness is judged by the FIFO's head and tail
being equal; an overrun stays until the next byte is taken; trigger levels other than 1 are ignored; setting the
divisor ors. Names are those of <linux/serial_reg.h>.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.mtty.accesses import pieces
from passthru.emulation.regions import Region

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 8
FIFO_SIZE = 16

UART_IER_RDI, UART_IER_THRI, UART_IER_RLSI, UART_IER_MSI = 0x01, 0x02, 0x04, 0x08
UART_IIR_NO_INT, UART_IIR_THRI, UART_IIR_RDI, UART_IIR_RLSI = 0x01, 0x02, 0x04, 0x06
UART_FCR_ENABLE_FIFO, UART_FCR_CLEAR_RCVR, UART_FCR_CLEAR_XMIT = 0x01, 0x02, 0x04
UART_LCR_DLAB = 0x80
UART_MCR_DTR, UART_MCR_RTS, UART_MCR_OUT2, UART_MCR_AFE = 0x01, 0x02, 0x08, 0x20
UART_LSR_DR, UART_LSR_OE, UART_LSR_THRE, UART_LSR_TEMT = 0x01, 0x02, 0x20, 0x40
UART_MSR_DCTS, UART_MSR_DDSR, UART_MSR_CTS, UART_MSR_DSR, UART_MSR_DCD = 0x01, 0x02, 0x10, 0x20, 0x80

_BYTES = tuple(bytes((value,)) for value in range(256))


class Uart(Region):
    """The eight registers of a port.

    ``trigger`` is called for each event that interrupts. ``empty_by_count`` judges emptiness by the number of bytes,
    which is what the real one should do.
    """

    def __init__(self, trigger: Callable[[], None], *, offset: int = 0, empty_by_count: bool = False) -> None:
        super().__init__(SIZE, offset=offset)
        self._trigger = trigger
        self._empty_by_count = empty_by_count
        self._ier = self._lcr = self._mcr = self._scr = 0
        self._fifo = bytearray(FIFO_SIZE)
        self._head = self._tail = self._count = 0
        self._capacity = FIFO_SIZE
        self._trigger_level = 0  # 1 from the first write of FCR on
        self._overrun = False
        self._dlab = False
        self._divisor = 0
        self._readers = (
            self._read_rx,
            self._read_ier,
            self._read_iir,
            lambda: self._lcr,
            lambda: self._mcr,
            self._read_lsr,
            self._read_msr,
            lambda: self._scr,
        )
        self._writers = (
            self._write_tx,
            self._write_ier,
            self._write_fcr,
            self._write_lcr,
            self._write_mcr,
            lambda value: None,
            lambda value: None,
            self._write_scr,
        )

    def read(self, offset: int, count: int) -> bytes:
        if count == 1:
            return _BYTES[self._readers[offset]()]
        # Only the first byte of a piece is defined; the others are what the kernel's stack held, 0 on Debian.
        return b"".join(_BYTES[self._readers[at]()] + bytes(size - 1) for at, size in pieces(offset, count))

    def write(self, offset: int, data: bytes) -> None:
        for at, _ in pieces(offset, len(data)):
            self._writers[at](data[at - offset])

    def _empty(self) -> bool:
        return not self._count if self._empty_by_count else self._head == self._tail

    def _read_rx(self) -> int:
        if self._dlab:
            return self._divisor & 0xFF
        value = 0
        if not self._empty():
            value = self._fifo[self._tail]
            self._count -= 1
            self._tail = (self._tail + 1) % FIFO_SIZE
        if self._ier & UART_IER_THRI and self._empty():
            self._trigger()
        return value

    def _read_ier(self) -> int:
        return self._divisor >> 8 if self._dlab else self._ier & 0x0F

    def _read_iir(self) -> int:
        value = 0
        if self._ier & UART_IER_RLSI and self._overrun:
            value |= UART_IIR_RLSI
        if self._ier & UART_IER_RDI and self._count >= self._trigger_level:
            value |= UART_IIR_RDI
        if self._ier & UART_IER_THRI and self._empty():
            value |= UART_IIR_THRI
        # A modem status interrupt is 0 here, so it looks like none.
        return (value or UART_IIR_NO_INT) | 0xC0

    def _read_lsr(self) -> int:
        value = UART_LSR_TEMT | UART_LSR_THRE if self._empty() else UART_LSR_DR
        return value | UART_LSR_OE if self._overrun else value

    def _read_msr(self) -> int:
        value = UART_MSR_DSR | UART_MSR_DDSR | UART_MSR_DCD
        if not self._mcr & UART_MCR_AFE or self._count < self._capacity:
            value |= UART_MSR_CTS | UART_MSR_DCTS
        return value

    def _write_tx(self, value: int) -> None:
        if self._dlab:
            self._divisor |= value
        elif self._count < self._capacity:
            self._fifo[self._head] = value
            self._count += 1
            self._head = (self._head + 1) % FIFO_SIZE
            self._overrun = False
            if self._ier & UART_IER_RDI and self._count == self._trigger_level:
                self._trigger()
        else:
            self._overrun = True
            if self._ier & UART_IER_RLSI:
                self._trigger()

    def _write_ier(self, value: int) -> None:
        if self._dlab:
            self._divisor |= value << 8
            return
        self._ier = value
        if value & UART_IER_THRI and self._empty():
            self._trigger()

    def _write_fcr(self, value: int) -> None:
        if value & (UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT):
            self._head = self._tail = self._count = 0
        self._trigger_level = 1
        self._capacity = FIFO_SIZE if value & UART_FCR_ENABLE_FIFO else 1

    def _write_lcr(self, value: int) -> None:
        self._dlab = bool(value & UART_LCR_DLAB)
        if self._dlab:
            self._divisor = 0
        self._lcr = value

    def _write_mcr(self, value: int) -> None:
        self._mcr = value
        if self._ier & UART_IER_MSI:
            if value & UART_MCR_OUT2:
                self._trigger()
            if value & (UART_MCR_RTS | UART_MCR_DTR):
                self._trigger()

    def _write_scr(self, value: int) -> None:
        self._scr = value
