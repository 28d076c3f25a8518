# SPDX-License-Identifier: GPL-2.0-or-later
"""A PCI function in a few lines: its configuration space, its regions and its INTx line, laid out as VMMs expect them.

For models without capabilities; names are those of <linux/pci_regs.h>.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.emulation.interrupts import IrqIndex, LevelLine
from passthru.emulation.model import Model
from passthru.emulation.regions import Region
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SIZE = 0x100
_COMMAND, _STATUS, _BAR0, _INTERRUPT_LINE, _INTERRUPT_PIN = 0x04, 0x06, 0x10, 0x3C, 0x3D
_COMMAND_INTX_DISABLE, _STATUS_INTERRUPT = 0x400, 0x08
_COMMAND_WRITABLE = 0x002 | 0x004 | 0x040 | 0x100 | _COMMAND_INTX_DISABLE
_BARS = 6


@dataclass(frozen=True)
class PciId:
    """Who a function says it is; ``class_code`` is 24 bits: class, subclass, programming interface."""

    vendor: int
    device: int
    class_code: int = 0xFF0000
    revision: int = 0


class PciModel(Model):
    """A PCI function with memory BARs (``bars``: regions by number, sizes powers of two from 16 on) and INTx."""

    def __init__(self, options: Model.Options, identity: PciId, bars: Mapping[int, Region]) -> None:
        super().__init__(options)
        self.device_flags = vfio.VFIO_DEVICE_FLAGS_PCI | vfio.VFIO_DEVICE_FLAGS_RESET
        self.config = _Configuration(identity, bars, self._configured)
        self._intx = LevelLine(lambda: self.config.interrupt and not self.config.interrupt_disabled)
        regions = [Region() for _ in range(vfio.VFIO_PCI_NUM_REGIONS)]
        for number, region in bars.items():
            regions[number] = region
        regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX] = self.config
        self.regions = regions
        self.irqs = (self._intx, *(IrqIndex() for _ in range(vfio.VFIO_PCI_NUM_IRQS - 1)))

    @property
    def interrupt(self) -> bool:
        """Whether INTx is asserted: a level, which stays until the device takes it back."""
        return self.config.interrupt

    @interrupt.setter
    def interrupt(self, asserted: bool) -> None:
        self.config.interrupt = asserted
        self._intx.evaluate()

    def reset(self) -> None:
        """The configuration space as it was, and no interrupt; override it, and call it, to reset registers too."""
        self.config.reset()

    def _configured(self) -> None:
        self._intx.evaluate()


class _Configuration(Region):
    def __init__(self, identity: PciId, bars: Mapping[int, Region], written: Callable[[], None]) -> None:
        super().__init__(_SIZE)
        self.interrupt = False
        self._written = written
        self._initial = bytearray(_SIZE)
        self._writable = bytearray(_SIZE)
        self._put(0x00, identity.vendor | identity.device << 16, 4)
        self._put(_COMMAND, 0, 2, _COMMAND_WRITABLE)
        self._put(0x08, identity.revision | identity.class_code << 8, 4)
        for number, region in bars.items():
            if number not in range(_BARS) or region.size < 16 or region.size & (region.size - 1):
                raise ValueError(
                    f"BAR {number} of {region.size} bytes; BARs are 0 to 5, sizes powers of two from 16 on"
                )
            self._put(_BAR0 + 4 * number, 0, 4, -region.size & 0xFFFFFFF0)
        self._put(0x2C, identity.vendor | identity.device << 16, 4)
        self._put(_INTERRUPT_LINE, 0, 1, 0xFF)
        self._put(_INTERRUPT_PIN, 1, 1)
        self._bytes = bytearray(self._initial)

    @property
    def interrupt_disabled(self) -> bool:
        return bool(self._bytes[_COMMAND + 1] & _COMMAND_INTX_DISABLE >> 8)

    def reset(self) -> None:
        self._bytes[:] = self._initial
        self.interrupt = False

    def read(self, offset: int, count: int) -> bytes:
        self._bytes[_STATUS] = _STATUS_INTERRUPT if self.interrupt else 0
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        for at, value in enumerate(data, offset):
            mask = self._writable[at]
            self._bytes[at] = self._bytes[at] & ~mask | value & mask
        self._written()

    def _put(self, offset: int, value: int, size: int, writable: int = 0) -> None:
        self._initial[offset : offset + size] = value.to_bytes(size, "little")
        self._writable[offset : offset + size] = writable.to_bytes(size, "little")
