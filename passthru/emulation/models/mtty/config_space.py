# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty's PCI configuration space."""

from __future__ import annotations

from passthru.emulation.models.mtty.accesses import pieces
from passthru.emulation.regions import Region

SIZE = 0xFF  # the kernel's own constant; its buffer has one byte more, which accesses reach
_BAR0, _BAR1 = 0x10, 0x14
_BARS_HARDWIRED_TO_0 = (0x18, 0x1C, 0x20)
_INTERRUPT_LINE = 0x3C
_BAR_MASK = 0xFFFFFFF8  # 8 ports each


class ConfigSpace(Region):
    """255 bytes by region info; reads reach one further, which is 0, as those of the real device do."""

    def __init__(self, ports: int, *, offset: int) -> None:
        super().__init__(SIZE, extent=SIZE + 1, offset=offset)
        self._ports = ports
        self._bytes = bytearray(SIZE + 1)
        for start, value in (
            (0x00, b"\x48\x43\x53\x32"),  # device 4348:3253
            (0x04, b"\x01\x00"),  # command: I/O+
            (0x06, b"\x00\x02"),  # status: medium DEVSEL
            (0x08, b"\x10\x02\x00\x07"),  # revision 10, serial controller, 16550
            (_BAR0, b"\x01"),  # I/O
            (_BAR1, b"\x01" if ports == 2 else b"\x00"),
            (0x2C, b"\x48\x43\x53\x32"),  # subsystem
            (0x3D, b"\x01"),  # INTA#
            (0x40, b"\x23\x00\x00\x80\x23\x00\x00\x00\x23\x00\x00\x00\x23"),
            (0x60, b"PCI Serial/UART"),
        ):
            self._bytes[start : start + len(value)] = value

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        for at, size in pieces(offset, len(data)):
            self._write_piece(at, data[at - offset : at - offset + size])

    def _write_piece(self, offset: int, data: bytes) -> None:
        if offset == _INTERRUPT_LINE:
            self._bytes[offset] = data[0]
        elif offset == _BAR0 or (offset == _BAR1 and self._ports == 2):
            value = int.from_bytes(data, "little")  # the kernel takes 4 bytes of a shorter piece too, undefined ones
            if value == 0xFFFFFFFF:
                value &= _BAR_MASK
            value |= self._bytes[offset] & 3
            self._bytes[offset : offset + 4] = value.to_bytes(4, "little")
        elif offset == _BAR1 or offset in _BARS_HARDWIRED_TO_0:
            self._bytes[offset : offset + 4] = bytes(4)
