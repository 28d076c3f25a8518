# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space: a header of type 0 with MSI, MSI-X and Advanced Features; what can be written is kept.

A VMM emulates base addresses and messages for its guest and forwards the writes all the same, so the device knows
whether it may master the bus, whether INTx is disabled, and how many MSI vectors the guest enabled. Names are those of
<linux/pci_regs.h>.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.regions import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VENDOR_ID, DEVICE_ID, REVISION = 0x5054, 0x444D, 0x01
MSIX_TABLE_OFFSET, MSIX_PBA_OFFSET = 0x000, 0x800  # in BAR 2

PCI_COMMAND, PCI_STATUS = 0x04, 0x06
PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER, PCI_COMMAND_INTX_DISABLE = 0x002, 0x004, 0x400
_PCI_COMMAND_WRITABLE = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | 0x040 | 0x100 | PCI_COMMAND_INTX_DISABLE
_PCI_STATUS_CAP_LIST = 0x10
_PCI_BASE_ADDRESS_0 = 0x10
_PCI_CAPABILITY_LIST = 0x34
_PCI_INTERRUPT_LINE, _PCI_INTERRUPT_PIN = 0x3C, 0x3D
_PCI_CAP_ID_MSI, _PCI_CAP_ID_MSIX, _PCI_CAP_ID_AF = 0x05, 0x11, 0x13
_PCI_MSI_FLAGS_ENABLE, _PCI_MSI_FLAGS_QSIZE, _PCI_MSI_FLAGS_64BIT = 0x01, 0x70, 0x80
_PCI_MSIX_FLAGS_ENABLE_AND_MASKALL = 0xC000
_PCI_AF_CAP_TP_AND_FLR, _PCI_AF_CTRL_FLR = 0x03, 0x01

SIZE = 0x100
MSI, MSIX, AF = 0x50, 0x60, 0x70  # where the capabilities are
_AF_CTRL = AF + 4


class ConfigSpace(Region):
    """``bars`` are sizes of memory BARs by number; ``function_reset`` is called for a function level reset.

    ``command_written`` is called after each write that reaches the command register.
    """

    def __init__(self, *, bars: Mapping[int, int], msi: int, msix: int, function_reset: Callable[[], None]) -> None:
        super().__init__(SIZE)
        self._function_reset = function_reset
        self.command_written: Callable[[], None] = lambda: None
        self._initial = bytearray(SIZE)
        self._writable = bytearray(SIZE)
        self._put(0x00, VENDOR_ID | DEVICE_ID << 16, 4)
        self._put(PCI_COMMAND, 0, 2, _PCI_COMMAND_WRITABLE)
        self._put(PCI_STATUS, _PCI_STATUS_CAP_LIST, 2)
        self._put(0x08, REVISION | 0x088000 << 8, 4)  # system peripheral
        for number, size in bars.items():
            self._put(_PCI_BASE_ADDRESS_0 + 4 * number, 0, 4, -size & 0xFFFFFFF0)
        self._put(0x2C, VENDOR_ID | DEVICE_ID << 16, 4)
        self._put(_PCI_INTERRUPT_LINE, 0, 1, 0xFF)
        self._put(_PCI_INTERRUPT_PIN, 1, 1)
        self._has_msi = bool(msi)
        self._capabilities(msi, msix)
        self._bytes = bytearray(self._initial)

    @property
    def command(self) -> int:
        """The command register."""
        return self._bytes[PCI_COMMAND] | self._bytes[PCI_COMMAND + 1] << 8

    @property
    def msi_vectors(self) -> int:
        """How many MSI vectors are enabled (multiple message enable), whether or not MSI is."""
        return 1 << ((self._bytes[MSI + 2] & _PCI_MSI_FLAGS_QSIZE) >> 4) if self._has_msi else 1

    def reset(self) -> None:
        """Everything that was written is forgotten."""
        self._bytes[:] = self._initial

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        for at, value in enumerate(data, offset):
            mask = self._writable[at]
            self._bytes[at] = self._bytes[at] & ~mask | value & mask
        end = offset + len(data)
        if self._initial[AF] and offset <= _AF_CTRL < end and data[_AF_CTRL - offset] & _PCI_AF_CTRL_FLR:
            self._function_reset()
        elif offset <= PCI_COMMAND + 1 and end > PCI_COMMAND:
            self.command_written()

    def _capabilities(self, msi: int, msix: int) -> None:
        link = _PCI_CAPABILITY_LIST
        if msi:
            link = self._link(link, MSI, _PCI_CAP_ID_MSI)
            capable = msi.bit_length() - 1
            writable = _PCI_MSI_FLAGS_ENABLE | _PCI_MSI_FLAGS_QSIZE
            self._put(MSI + 2, _PCI_MSI_FLAGS_64BIT | capable << 1, 2, writable)
            self._put(MSI + 4, 0, 4, 0xFFFFFFFC)
            self._put(MSI + 8, 0, 4, 0xFFFFFFFF)
            self._put(MSI + 12, 0, 2, 0xFFFF)
        if msix:
            link = self._link(link, MSIX, _PCI_CAP_ID_MSIX)
            self._put(MSIX + 2, msix - 1, 2, _PCI_MSIX_FLAGS_ENABLE_AND_MASKALL)
            self._put(MSIX + 4, MSIX_TABLE_OFFSET | 2, 4)  # the 2 is the BAR
            self._put(MSIX + 8, MSIX_PBA_OFFSET | 2, 4)
        self._link(link, AF, _PCI_CAP_ID_AF)
        self._put(AF + 2, 6 | _PCI_AF_CAP_TP_AND_FLR << 8, 2)  # the length comes first

    def _link(self, link: int, place: int, identity: int) -> int:
        """Put a capability at ``place``, linked from ``link``; returns where the next link goes."""
        self._put(link, place, 1)
        self._put(place, identity, 1)
        return place + 1

    def _put(self, offset: int, value: int, size: int, writable: int = 0) -> None:
        self._initial[offset : offset + size] = value.to_bytes(size, "little")
        self._writable[offset : offset + size] = writable.to_bytes(size, "little")
