# SPDX-License-Identifier: GPL-2.0-or-later
"""One transmit and one receive ring of Intel's 82576, in memory that the card shares: a frame from here to there.

Descriptors are the advanced ones, 16 bytes each: an address, and for a transmitter (command, type and length; payload
length), which the card replaces by what came of it. Names are those of drivers/net/ethernet/intel/igb/e1000_*.h.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from passthru.vfio.stubs.stub import wait_until

if TYPE_CHECKING:
    from passthru.vfio.stubs.registers import Registers
    from passthru.vfio.stubs.stub import Workspace

HEAD = 1024  # a frame's head, and the unit of receive buffers
LARGEST = 9 * HEAD  # a frame; jumbo frames have 9728 bytes with their check sum

_RCTL, _TCTL, _RLPML = 0x0100, 0x0400, 0x5004
_RCTL_EN, _RCTL_UPE, _RCTL_MPE, _RCTL_LPE, _RCTL_BAM, _RCTL_SECRC = 0x2, 0x8, 0x10, 0x20, 0x8000, 0x04000000
_TCTL_EN, _TCTL_PSP = 0x2, 0x8
_LONGEST_FRAME = 0x2600
_RECEIVER, _TRANSMITTER = 0xC000, 0xE000
_BASE_LOW, _BASE_HIGH, _LENGTH, _SRRCTL, _HEAD, _TAIL, _CONTROL = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x18, 0x28
_QUEUE_ENABLE = 0x02000000
_SRRCTL_ADVANCED_ONE_BUFFER = 0x02000000
_DATA = 0x00300000 | 0x20000000 | 0x02000000  # DTYP_DATA, DCMD_DEXT, DCMD_IFCS
_END, _REPORT = 0x01000000, 0x08000000
_PAYLOAD_SHIFT = 14
_DONE = 0x1  # in the status of either descriptor

_DESCRIPTOR = Struct("<QII")
_ENTRIES = 16
_RING = _ENTRIES * _DESCRIPTOR.size
_PAGE = 4096
# To a unicast address that nobody has, from another, of a type for experiments (IEEE 802): nobody looks into it.
_FRAME = bytes.fromhex("020000000001 020000000002 88b5").ljust(HEAD, b"\0")
_SECONDS = 1.0  # within which a frame is sent, and received, or was dropped


class Rings:
    """Transmit descriptors, receive descriptors, the head to send, and the head that is received."""

    SIZE: ClassVar[int] = _PAGE
    _SENT: ClassVar[int] = 0
    _RECEIVED: ClassVar[int] = _RING
    _HEAD_OUT: ClassVar[int] = HEAD
    _HEAD_IN: ClassVar[int] = 2 * HEAD

    def __init__(self, registers: Registers, workspace: Workspace) -> None:
        self._registers = registers
        self._iova = workspace.iova
        self._memory = workspace.memory
        self._memory[self._HEAD_OUT : self._HEAD_OUT + HEAD] = _FRAME

    def send(self, source: int, destination: int, size: int) -> None:
        """Raises TimeoutError where nothing is sent or received, as when memory cannot be reached at all."""
        registers = self._registers
        self._stop()
        buffers = [self._iova + self._HEAD_IN, *range(destination, destination + size, HEAD)]
        for number, buffer in enumerate(buffers):
            self._describe(self._RECEIVED, number, buffer, 0, 0)
        pieces = [(self._iova + self._HEAD_OUT, HEAD), *_pieces(source, size)]
        for number, (start, length) in enumerate(pieces):
            last = _END | _REPORT if number == len(pieces) - 1 else 0
            self._describe(self._SENT, number, start, _DATA | last | length, (HEAD + size) << _PAYLOAD_SHIFT)
        self._start(_RECEIVER, self._RECEIVED)
        registers[_RECEIVER + _SRRCTL] = _SRRCTL_ADVANCED_ONE_BUFFER | 1  # of a kilobyte
        registers[_RLPML] = _LONGEST_FRAME
        registers[_RCTL] = _RCTL_EN | _RCTL_UPE | _RCTL_MPE | _RCTL_LPE | _RCTL_BAM | _RCTL_SECRC
        registers[_RECEIVER + _TAIL] = len(buffers)
        self._start(_TRANSMITTER, self._SENT)
        registers[_TCTL] = registers[_TCTL] | _TCTL_EN | _TCTL_PSP
        registers[_TRANSMITTER + _TAIL] = len(pieces)
        try:
            wait_until(lambda: self._done(self._SENT, len(pieces) - 1, 12), "the end of a transmission", _SECONDS)
            wait_until(
                lambda: self._done(self._RECEIVED, len(buffers) - 1, 8), "the frame that was sent to itself", _SECONDS
            )
        finally:
            self._stop()

    def _start(self, ring: int, place: int) -> None:
        registers = self._registers
        registers[ring + _BASE_LOW] = (self._iova + place) & 0xFFFFFFFF
        registers[ring + _BASE_HIGH] = (self._iova + place) >> 32
        registers[ring + _LENGTH] = _RING
        registers[ring + _HEAD] = registers[ring + _TAIL] = 0
        registers[ring + _CONTROL] = _QUEUE_ENABLE
        wait_until(lambda: registers[ring + _CONTROL] & _QUEUE_ENABLE, "a ring of the card")

    def _stop(self) -> None:
        """No more DMA: what is in the rings is as good as never there."""
        registers = self._registers
        registers[_RCTL] = 0
        registers[_TCTL] = registers[_TCTL] & ~_TCTL_EN
        for ring in (_TRANSMITTER, _RECEIVER):
            registers[ring + _CONTROL] = 0

    def _describe(self, ring: int, number: int, address: int, command: int, payload: int) -> None:
        _DESCRIPTOR.pack_into(self._memory, ring + number * _DESCRIPTOR.size, address, command, payload)

    def _done(self, ring: int, number: int, status: int) -> int:
        return self._memory[ring + number * _DESCRIPTOR.size + status] & _DONE


def _pieces(start: int, size: int) -> list[tuple[int, int]]:
    """Addresses and lengths that cross no page: QEMU drops a fragment whose pages lie apart in memory."""
    found = []
    end = start + size
    while start < end:
        length = min(end - start, _PAGE - start % _PAGE)
        found.append((start, length))
        start += length
    return found
