# SPDX-License-Identifier: GPL-2.0-or-later
"""The stub of edu, by a card that takes its time for a transfer."""

from __future__ import annotations

import pytest

from passthru.vfio.stubs import edu
from passthru.vfio.stubs.stub import Identity, Stub
from tests.unit.vfio.stubs.cards import Card


class _Edu(Card):
    """Memory of 64 KiB at address 0; ``looks`` is how often the end of a transfer is asked for in vain."""

    looks = 3

    def __init__(self) -> None:
        super().__init__({0: 1, 1: 1})
        self.ram = bytearray(1 << 16)
        self.buffer = bytearray(4096)
        self.status = 0
        self.left = 0

    def get(self, offset: int) -> int:
        if offset == edu.IRQ_STATUS:
            return self.status
        if offset == edu.DMA_COMMAND and self.left:
            self.left -= 1
            return super().get(offset)
        return super().get(offset) & ~edu.DMA_RUN if offset == edu.DMA_COMMAND else super().get(offset)

    def put(self, offset: int, value: int) -> None:
        super().put(offset, value)
        if offset == edu.IRQ_RAISE:
            self.status |= value
        elif offset == edu.IRQ_ACKNOWLEDGE:
            self.status &= ~value
        elif offset == edu.DMA_COMMAND:
            self.left = self.looks
            source, destination, size = (
                self.get(each) for each in (edu.DMA_SOURCE, edu.DMA_DESTINATION, edu.DMA_COUNT)
            )
            if value & edu.DMA_FROM_DEVICE:
                at = source - edu.DMA_BUFFER
                self.ram[destination : destination + size] = self.buffer[at : at + size]
            else:
                at = destination - edu.DMA_BUFFER
                self.buffer[at : at + size] = self.ram[source : source + size]


def _stub(card: Card) -> Stub:
    stub = edu.Edu(card.device, Identity("pci", edu.VENDOR, edu.DEVICE))
    stub.prepare()
    return stub


def test_it_decodes_and_masters() -> None:
    card = _Edu()
    card.config[4:6] = b"\x00\x05"  # INTX_DISABLE and SERR, of which the one goes and the other stays
    _stub(card)
    assert card.config[4:6] == b"\x07\x01"


def test_an_interrupt_stays_until_it_is_quiet() -> None:
    card = _Edu()
    stub = _stub(card)
    assert stub.interrupts == {0: 1, 1: 1}
    stub.interrupt(0)
    assert card.status
    stub.quiet()
    assert not card.status


def test_it_copies_by_its_buffer() -> None:
    card = _Edu()
    stub = _stub(card)
    card.ram[0x100 : 0x100 + stub.largest_copy] = data = bytes(range(256)) * 15 + bytes(range(248))
    stub.copy(0x100, 0x5001, stub.largest_copy)
    assert card.ram[0x5001 : 0x5001 + stub.largest_copy] == data
    assert (stub.tells_faults, stub.workspace_size, stub.highest_iova) == (False, 0, 0x0FFFFFFF)


def test_a_transfer_without_end_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    card = _Edu()
    card.looks = 1 << 30
    monkeypatch.setattr(edu.Edu, "SECONDS", 0.05)
    with pytest.raises(TimeoutError, match=r"the end of edu's DMA did not come within 0\.05 s"):
        _stub(card).copy(0, 0x1000, 16)


def test_short_answers_are_errors() -> None:
    card = _Edu()
    stub = _stub(card)
    card.write = lambda region, offset, data: 0  # type: ignore[method-assign]
    with pytest.raises(OSError, match="region 0 took 0 of 4 bytes at 0x60"):
        stub.interrupt(0)
    card.read = lambda region, offset, size: b""  # type: ignore[method-assign]
    with pytest.raises(OSError, match="region 7 gave 0 of 2 bytes at 0x4"):
        stub.prepare()
