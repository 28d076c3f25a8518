# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration space of a PCI device, by its region; names are those of <linux/pci_regs.h>."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from passthru.vfio.linux_vfio import VFIO_PCI_CONFIG_REGION_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.device import VfioDevice

PCI_VENDOR_ID, PCI_COMMAND, PCI_STATUS, PCI_CLASS_REVISION = 0x00, 0x04, 0x06, 0x08
PCI_HEADER_TYPE, PCI_BASE_ADDRESS_0, PCI_SUBSYSTEM_VENDOR_ID, PCI_ROM_ADDRESS = 0x0E, 0x10, 0x2C, 0x30
PCI_CAPABILITY_LIST, PCI_INTERRUPT_LINE, PCI_INTERRUPT_PIN = 0x34, 0x3C, 0x3D
PCI_STD_HEADER_SIZEOF, PCI_CFG_SPACE_SIZE, PCI_CFG_SPACE_EXP_SIZE = 0x40, 0x100, 0x1000

PCI_COMMAND_IO, PCI_COMMAND_MEMORY = 0x1, 0x2
PCI_STATUS_CAP_LIST = 0x10
PCI_BASE_ADDRESS_SPACE_IO, PCI_BASE_ADDRESS_MEM_TYPE_MASK, PCI_BASE_ADDRESS_MEM_TYPE_64 = 0x1, 0x6, 0x4
PCI_BASE_ADDRESS_IO_MASK, PCI_BASE_ADDRESS_MEM_MASK = 0xFFFFFFFC, 0xFFFFFFF0
PCI_ROM_ADDRESS_MASK = 0xFFFFF800

PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX = 0x05, 0x11
PCI_CAP_MSI_FLAGS, PCI_MSI_FLAGS_QMASK, PCI_MSIX_FLAGS_QSIZE = 2, 0x0E, 0x7FF


class ConfigSpace:
    """Little-endian numbers of the configuration space. Raises OSError where the device refuses, or gives less."""

    def __init__(self, device: VfioDevice) -> None:
        self._device = device

    def bytes(self, offset: int, size: int) -> bytes:
        """Bytes by one read; may be fewer."""
        return self._device.read(VFIO_PCI_CONFIG_REGION_INDEX, offset, size)

    def get(self, offset: int, size: int) -> int:
        """A number of ``size`` bytes."""
        data = self.bytes(offset, size)
        if len(data) != size:
            raise OSError(f"the configuration space gave {len(data)} of {size} bytes at {offset:#x}")
        return int.from_bytes(data, "little")

    def put(self, offset: int, value: int, size: int) -> None:
        """Write a number of ``size`` bytes."""
        taken = self._device.write(VFIO_PCI_CONFIG_REGION_INDEX, offset, value.to_bytes(size, "little"))
        if taken != size:
            raise OSError(f"the configuration space took {taken} of {size} bytes at {offset:#x}")

    @contextmanager
    def kept(self, offset: int, size: int) -> Iterator[int]:
        """What is there, which is written back in the end."""
        before = self.get(offset, size)
        try:
            yield before
        finally:
            self.put(offset, before, size)

    def capabilities(self) -> Iterator[tuple[int, int]]:
        """(identity, offset) of each capability as the chain has them; whoever walks a circle must stop by himself."""
        if not self.get(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST:
            return
        at = self.get(PCI_CAPABILITY_LIST, 1)
        while at:
            yield self.get(at, 1), at
            at = self.get(at + 1, 1)

    def extended_capabilities(self) -> Iterator[tuple[int, int]]:
        """The same of the chain that begins at 0x100; where that is 0, or all ones, there is none."""
        at = PCI_CFG_SPACE_SIZE
        while at:
            header = self.get(at, 4)
            if at == PCI_CFG_SPACE_SIZE and header in (0, 0xFFFFFFFF):
                return
            yield header & 0xFFFF, at
            at = header >> 20
