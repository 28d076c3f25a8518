# SPDX-License-Identifier: GPL-2.0-or-later
"""A device for tests that uses all that a model may: DMA, deferred work, memory to map, every kind of interrupt."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.emulation.interrupts import ActiveIndex, Interrupts, IrqIndex
from passthru.emulation.model import Model
from passthru.emulation.regions import MemoryRegion, Region
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.emulation.model import Plug

REGISTERS, MEMORY, WHOLE_MEMORY, READ_ONLY, BROKEN = 0, 1, 2, 3, 4
TRAPPED, MAPPABLE = 0x1000, 0x2000  # the parts of MEMORY
STORE = 0x00  # 16 bytes of plain registers
COPY = 0x10  # from, to and size, 8 bytes each; the write that ends there copies by deferred work
STATUS = 0x28  # errno of the last copy, 0xff while it is under way
IMPATIENT = 0x30  # copies within the access itself
TRIGGER = 0x31  # triggers that MSI-X vector
INTX = 0x32  # triggers INTx
MSIX_VECTORS = 4


class Registers(Region):
    """See the constants above."""

    def __init__(self, owner: ScratchModel) -> None:
        super().__init__(0x40)
        self._owner = owner
        self.values = bytearray(0x40)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self.values[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        self.values[offset : offset + len(data)] = data
        if offset < STATUS == offset + len(data):
            self.values[STATUS] = 0xFF
            self._owner.plug.defer(self._copy)
        elif offset == IMPATIENT:
            self._copy()
        elif offset == TRIGGER:
            self._owner.msix.trigger(data[0])
        elif offset == INTX:
            self._owner.intx.trigger()

    def _copy(self) -> None:
        source, target, size = (int.from_bytes(self.values[at : at + 8], "little") for at in range(COPY, STATUS, 8))
        try:
            self._owner.plug.dma.write(target, self._owner.plug.dma.read(source, size))
            self.values[STATUS] = 0
        except OSError as error:
            self.values[STATUS] = error.errno or 0xFE


class Broken(Region):
    """A model's mistakes: short data, and an exception that is no OSError."""

    def read(self, offset: int, count: int) -> bytes:
        if offset:
            raise KeyError("a mistake")
        return bytes(count - 1)

    def write(self, offset: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no room")


class ScratchModel(Model):
    """Nine regions and five irq indices, as QEMU wants them."""

    device_flags = vfio.VFIO_DEVICE_FLAGS_PCI | vfio.VFIO_DEVICE_FLAGS_RESET
    plug: Plug

    def __init__(self) -> None:
        super().__init__(Model.Options())
        self.registers = Registers(self)
        self.memory = MemoryRegion(TRAPPED + MAPPABLE, areas=((TRAPPED, MAPPABLE),))
        self.regions = [Region() for _ in range(vfio.VFIO_PCI_NUM_REGIONS)]
        self.regions[: BROKEN + 1] = [
            self.registers,
            self.memory,
            MemoryRegion(0x1000),
            Region(16, flags=vfio.VFIO_REGION_INFO_FLAG_READ),
            Broken(16),
        ]
        active = ActiveIndex()
        self.intx = Interrupts(
            vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED, 1, active
        )
        self.msi = Interrupts(vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_NORESIZE, MSIX_VECTORS, active)
        self.msix = Interrupts(vfio.VFIO_IRQ_INFO_EVENTFD, MSIX_VECTORS, active)
        self.irqs: Sequence[IrqIndex] = (self.intx, self.msi, self.msix)
        self.resets = 0

    def plugged(self, plug: Plug) -> None:
        super().plugged(plug)
        self.plug = plug

    def reset(self) -> None:
        self.resets += 1
        self.registers.values[:] = bytes(len(self.registers.values))
