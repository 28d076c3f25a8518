# SPDX-License-Identifier: GPL-2.0-or-later
"""The stub of igb, by a card that sends frames to itself, drops what it cannot read, and is slow to get its link."""

from __future__ import annotations

import mmap
import struct

import pytest

from passthru.vfio.stubs import igb, igb_rings
from passthru.vfio.stubs.stub import Identity, Workspace
from tests.unit.vfio.stubs.cards import Card

_ICS, _IMS, _IMC, _ICR = igb.E1000_ICS, igb.E1000_IMS, igb.E1000_IMC, igb.E1000_ICR
_TDT, _RDT, _RCTL = 0xE018, 0xC018, 0x100
_RAM, _WORKSPACE = 1 << 16, 1 << 20


class _Igb(Card):
    """Memory of 64 KiB at address 0; ``sent`` are the interrupts: an index, and which of it."""

    def __init__(self) -> None:
        super().__init__({0: 1, 1: 1, 2: 10})
        self.ram = bytearray(_RAM)
        self.workspace = mmap.mmap(-1, igb_rings.Rings.SIZE)
        self.sent: list[tuple[str, int]] = []
        self.causes = self.mask = self.extended = self.extended_mask = 0
        self.resets = self.autonegotiations = self.looks = 0
        self.registers[igb.E1000_CTRL] = 1

    def get(self, offset: int) -> int:
        if offset == igb.E1000_STATUS:
            self.looks += 1
            return igb.E1000_STATUS_LU if self.autonegotiations and self.looks > 3 else 0
        if offset == igb.E1000_MDIC:
            return igb.E1000_MDIC_READY
        if offset == igb.E1000_CTRL:
            return super().get(offset) & ~igb.E1000_CTRL_RST
        return super().get(offset)

    def put(self, offset: int, value: int) -> None:
        super().put(offset, value)
        if offset == igb.E1000_MDIC:
            self.autonegotiations += bool(value & igb.BMCR_ANRESTART)
        elif offset == igb.E1000_CTRL and value & igb.E1000_CTRL_RST:
            self.resets += 1
        elif offset == _TDT and value:
            self.transmit()
        elif offset in (_ICS, _IMS):
            before = self.causes & self.mask
            self.causes |= value if offset == _ICS else 0
            self.mask |= value if offset == _IMS else 0
            if self.causes & self.mask & ~before and not self.registers.get(igb.E1000_GPIE):
                self.sent.append(("legacy", 0))
        elif offset in (_ICR, _IMC):
            self.causes &= ~value if offset == _ICR else -1
            self.mask &= ~value if offset == _IMC else -1
        elif offset in (igb.E1000_EICS, igb.E1000_EIMS):
            before = self.extended & self.extended_mask
            self.extended |= value if offset == igb.E1000_EICS else 0
            self.extended_mask |= value if offset == igb.E1000_EIMS else 0
            raised = self.extended & self.extended_mask & ~before
            if raised and self.registers.get(igb.E1000_GPIE) == igb.E1000_GPIE_MSIX_MODE:
                self.sent.append(("msix", raised.bit_length() - 1))
        elif offset in (igb.E1000_EICR, igb.E1000_EIMC):
            self.extended &= ~value if offset == igb.E1000_EICR else -1
            self.extended_mask &= ~value if offset == igb.E1000_EIMC else -1

    def memory(self, address: int, size: int) -> memoryview | None:
        if _WORKSPACE <= address < _WORKSPACE + len(self.workspace):
            return memoryview(self.workspace)[address - _WORKSPACE :][:size]
        return memoryview(self.ram)[address : address + size] if address + size <= _RAM else None

    def transmit(self) -> None:
        frame, base, pages = bytearray(), self.get(0xE000), 0
        for number in range(self.get(_TDT)):
            descriptor = self.memory(base + 16 * number, 16)
            assert descriptor is not None
            address, command, _ = struct.unpack("<QII", descriptor)
            piece = self.memory(address, command & 0xFFFF)
            pages = max(pages, (address + (command & 0xFFFF) - 1) // 4096 - address // 4096)
            if piece is None:
                frame.clear()
                break
            frame += piece
            descriptor[12] |= command >> 27 & 1
        assert not pages, "no piece of a frame crosses a page"
        if frame:
            self.receive(bytes(frame))

    def receive(self, frame: bytes) -> None:
        assert self.get(_RCTL) & 0x2, "the receiver is on before a frame is sent"
        assert frame[12:14] == b"\x88\xb5"
        for number in range(self.get(_RDT)):
            descriptor = self.memory(self.get(0xC000) + 16 * number, 16)
            assert descriptor is not None
            buffer = self.memory(int.from_bytes(descriptor[:8], "little"), len(frame[:1024]))
            if buffer is not None:
                buffer[:] = frame[:1024]
            frame = frame[1024:]
            descriptor[8] |= 1


def _stub(card: _Igb) -> igb.Igb:
    stub = igb.Igb(card.device, Identity("pci", igb.VENDOR, igb.DEVICE))
    stub.prepare()
    stub.lend(Workspace(_WORKSPACE, card.workspace))
    return stub


@pytest.mark.parametrize(("source", "destination", "size"), [(0x10, 0x5007, 8192), (0xFFF, 0x8FFF, 2), (0, 0x4000, 1)])
def test_it_copies(source: int, destination: int, size: int) -> None:
    card = _Igb()
    stub = _stub(card)
    assert size <= stub.largest_copy
    card.ram[:] = bytes(number * 7 % 251 for number in range(_RAM))
    wanted = bytearray(card.ram)
    wanted[destination : destination + size] = card.ram[source : source + size]
    stub.copy(source, destination, size)
    assert card.ram == wanted
    assert not card.get(_RCTL) & 0x2, "nothing is received any more"
    stub.copy(source, destination, size)
    assert card.autonegotiations == 1, "the link is waited for once"


def test_a_card_that_got_half_a_frame_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(igb_rings, "_SECONDS", 0.05)
    card = _Igb()
    stub = _stub(card)
    with pytest.raises(TimeoutError, match=r"did not come within 0\.05 s"):
        stub.copy(_RAM + 4096, 0, 100)
    assert card.resets == 1
    card.ram[0x100:0x104] = b"data"
    stub.copy(0x100, 0x200, 4)
    assert card.ram[0x200:0x204] == b"data"
    assert stub.tells_faults is False


def test_it_needs_a_workspace() -> None:
    stub = igb.Igb(_Igb().device, Identity("pci"))
    assert stub.workspace_size == 4096
    with pytest.raises(RuntimeError, match="lend it one"):
        stub.copy(0, 0, 1)


def test_each_kind_of_interrupt_comes_each_time() -> None:
    card = _Igb()
    stub = _stub(card)
    assert stub.interrupts == {0: 1, 1: 1, 2: 10}
    for index, number in ((0, 0), (0, 0), (2, 3), (2, 3), (2, 9), (1, 0)):
        stub.interrupt(index, number)
    assert card.sent == [("legacy", 0)] * 2 + [("msix", 3)] * 2 + [("msix", 9), ("legacy", 0)]
    stub.quiet()
    assert not card.causes | card.mask | card.extended | card.extended_mask
