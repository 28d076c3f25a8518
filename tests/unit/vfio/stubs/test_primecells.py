# SPDX-License-Identifier: GPL-2.0-or-later
"""The stubs of Arm's clock and UART, by devices of a few lines."""

from __future__ import annotations

import pytest

from passthru.vfio.stubs import pl011, pl031
from passthru.vfio.stubs.catalogue import stub_for
from passthru.vfio.stubs.stub import Identity, Stub
from tests.unit.vfio.stubs.cards import Card


class _Clock(Card):
    """Its seconds go by while it is looked at: the alarm that is set too late is missed ``misses`` times."""

    misses = 2

    def __init__(self) -> None:
        super().__init__({0: 1})
        self.now = 100

    @property
    def line(self) -> bool:
        return bool(self.registers.get(pl031.RTCRIS, 0) & self.registers.get(pl031.RTCIMSC, 0))

    def get(self, offset: int) -> int:
        if offset == pl031.RTCDR:
            self.now += 1
            return self.now - 1 if self.misses else self.now
        return super().get(offset)

    def put(self, offset: int, value: int) -> None:
        super().put(offset, value)
        if offset == pl031.RTCMR:
            self.misses = max(self.misses - 1, 0)
            self.registers[pl031.RTCRIS] = int(value == self.now)
        elif offset == pl031.RTCICR:
            self.registers[pl031.RTCRIS] = 0


class _Line(Card):
    """A UART in loopback; without FIFOs it holds one byte."""

    def __init__(self) -> None:
        super().__init__({0: 1})
        self.held: list[int] = [0x1FF]  # with an error, from before
        self.lost = 0

    @property
    def line(self) -> bool:
        return bool(self.held) and bool(self.registers.get(pl011.UARTIMSC, 0) & 0x10)

    def get(self, offset: int) -> int:
        if offset == pl011.UARTDR:
            return self.held.pop(0) if self.held else 0
        if offset == pl011.UARTFR:
            return 0 if self.held else 0x10
        if offset == pl011.UARTRIS:
            return 0x10 if self.held else 0
        return super().get(offset)

    def put(self, offset: int, value: int) -> None:
        super().put(offset, value)
        if offset == pl011.UARTDR:
            assert super().get(pl011.UARTCR) & 0x381 == 0x381, "it is on, and in loopback"
            if len(self.held) < (16 if super().get(pl011.UARTLCR_H) & 0x10 else 1):
                self.held.append(value)
            else:
                self.lost += 1
        elif offset == pl011.UARTLCR_H:
            assert not super().get(pl011.UARTCR) & 1, "line control changes in a UART that is off"


def _clock() -> tuple[_Clock, Stub]:
    card = _Clock()
    stub = pl031.Pl031(card.device, Identity("amba", compatible=("arm,pl031", "arm,primecell")))
    stub.prepare()
    return card, stub


def _line() -> tuple[_Line, Stub]:
    card = _Line()
    stub = pl011.Pl011(card.device, Identity("amba", compatible=("arm,pl011", "arm,primecell")))
    stub.prepare()
    return card, stub


@pytest.mark.parametrize(
    ("compatible", "stub"),
    [
        ("arm,pl031", pl031.Pl031),
        ("passthru,pl031", pl031.Pl031),
        ("arm,pl011", pl011.Pl011),
        ("passthru,pl011", pl011.Pl011),
        ("arm,pl061", None),
    ],
)
def test_they_are_known_by_the_device_tree(compatible: str, stub: type[Stub] | None) -> None:
    for bus in ("amba", "platform"):
        assert stub_for(Identity(bus, compatible=(compatible, "arm,primecell"))) is stub


def test_an_alarm_is_set_until_it_is_due() -> None:
    card, stub = _clock()
    stub.interrupt(0)
    assert card.line and not card.misses
    stub.interrupt(0)
    assert card.line
    stub.quiet()
    assert not card.line


def test_the_clock_itself_is_never_set() -> None:
    card, stub = _clock()
    stub.interrupt(0)
    stub.quiet()
    written = {offset for offset, _ in card.written}
    assert written == {pl031.RTCMR, pl031.RTCIMSC, pl031.RTCICR}
    assert [part.offset for part in stub.scratch] == [pl031.RTCMR]


def test_one_looped_byte_interrupts_until_it_is_read() -> None:
    card, stub = _line()
    assert not card.held  # what was there before was thrown away
    stub.interrupt(0)
    stub.interrupt(0)
    assert card.line and (len(card.held), card.lost) == (1, 0)
    stub.quiet()
    assert not card.line and not card.held


def test_looped_bytes_come_back() -> None:
    card, stub = _line()
    data = bytes(range(0xF0, 0x100))
    assert len(data) == stub.largest_loop
    assert stub.loop(data) == data
    assert not card.lost
    assert not card.get(pl011.UARTLCR_H) & 0x10, "it interrupts for one byte again"
