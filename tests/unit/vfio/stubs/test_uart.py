# SPDX-License-Identifier: GPL-2.0-or-later
"""The stubs of serial cards, by a UART that loops only when it is told to."""

from __future__ import annotations

import pytest

from passthru.vfio.stubs import uart
from passthru.vfio.stubs.mtty import Mtty
from passthru.vfio.stubs.pci_serial import PciSerial
from passthru.vfio.stubs.stub import Identity
from tests.unit.vfio.stubs.cards import Card

_SERIAL = Identity("pci", 0x1B36, 2)


class _Uart(Card):
    def __init__(self) -> None:
        super().__init__({0: 1, 1: 1}, width=1)
        self.line: list[int] = []
        self.fifo: list[int] = []

    @property
    def asserted(self) -> bool:
        return bool(self.registers.get(uart.UART_IER, 0) & uart.UART_IER_THRI)

    def get(self, offset: int) -> int:
        if offset == uart.UART_RX:
            return self.fifo.pop(0)
        if offset == uart.UART_LSR:
            return uart.UART_LSR_DR if self.fifo else 0x60
        return super().get(offset)

    def put(self, offset: int, value: int) -> None:
        if offset == uart.UART_TX:
            (self.fifo if self.registers[uart.UART_MCR] & uart.UART_MCR_LOOP else self.line).append(value)
        elif offset == uart.UART_FCR:
            self.fifo.clear()
        else:
            super().put(offset, value)


def test_it_loops_and_nothing_leaves() -> None:
    card = _Uart()
    card.fifo += b"old"
    stub = PciSerial(card.device, _SERIAL)
    stub.prepare()
    sent = bytes(range(240, 240 + stub.largest_loop))
    assert (stub.loop(sent), card.line, card.fifo) == (sent, [], [])
    assert not card.registers[uart.UART_MCR] & uart.UART_MCR_LOOP, "the loopback is left again"


def test_a_byte_that_does_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Losing(_Uart):
        def put(self, offset: int, value: int) -> None:
            if offset != uart.UART_TX or value != 3:
                super().put(offset, value)

    monkeypatch.setattr(PciSerial, "SECONDS", 0.05)
    stub = PciSerial(Losing().device, _SERIAL)
    stub.prepare()
    with pytest.raises(TimeoutError, match="byte 3 of the loopback"):
        stub.loop(bytes((1, 2, 3, 4)))


def test_its_interrupt_is_a_level() -> None:
    card = _Uart()
    stub = PciSerial(card.device, _SERIAL)
    stub.prepare()
    assert (stub.interrupts, stub.holds_level, card.asserted) == ({0: 1}, True, False)
    stub.interrupt(0)
    assert card.asserted
    stub.quiet()
    assert not card.asserted


def test_mtty_interrupts_anew_each_time_and_has_msi() -> None:
    card = _Uart()
    stub = Mtty(card.device, Identity("pci", 0x4348, 0x3253))
    stub.prepare()
    assert (stub.interrupts, stub.holds_level, stub.largest_loop) == ({0: 1, 1: 1}, False, 15)
    card.written.clear()
    stub.interrupt(0)
    stub.interrupt(0)
    assert card.written == [(uart.UART_IER, each) for each in (0, 2, 0, 2)], "an event needs the enable bit to rise"
