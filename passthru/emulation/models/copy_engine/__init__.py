# SPDX-License-Identifier: GPL-2.0-or-later
"""A platform device that copies memory to memory: ``compatible = "passthru,copy-engine"``.

One region of 4096 bytes and one level-triggered interrupt. The registers are plain memory, little-endian, and taken at
their own size. A doorbell is written by the driver, with something other than 0, when what it needs is in place; the
device sets it back to 0 when it has acted and the other registers tell what came of it.

| offset | bytes | written by | register |
|--------|-------|------------|----------|
| 0x00   | 4 | device | identification, 0xRRrr4350: major and minor version |
| 0x04   | 4 | device | resets since the device was made |
| 0x08   | 8 | driver | source address |
| 0x10   | 8 | driver | destination address |
| 0x18   | 8 | driver | count, 1 byte to 16 MiB |
| 0x20   | 4 | doorbell | command: 0x1 start, 0x2 interrupt at the end |
| 0x24   | 4 | device | result, see `outcome.Result` |
| 0x28   | 8 | device | fault: the address that could not be read or written; 0 for none |
| 0x30   | 8 | device | transferred: bytes that were copied, whole pieces of a page |
| 0x38   | 4 | device | causes: 0x1 done, 0x2 failed, and those that were raised |
| 0x3c   | 4 | doorbell | acknowledge: takes these causes back; the line is low when this is 0 again and none is left |
| 0x40   | 4 | doorbell | raise: adds these causes |
| 0x44   | 4 | doorbell | reset: all registers as at the beginning, but that resets are counted |

The interrupt is asserted as long as a cause is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthru.emulation.interrupts import LevelLine
from passthru.emulation.model import Access, Model
from passthru.emulation.models.copy_engine.engine import CopyEngine, Defect
from passthru.emulation.windows import Window
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from passthru.emulation.model import Plug

SIZE = 0x1000


class CopyEngineDevice(Model):
    """See the module's page."""

    access: ClassVar[Access] = "memory"

    @dataclass(frozen=True)
    class Options(Model.Options):
        """``defect``: a fault to inject, so that what is to find it can prove that it does (see `engine.Defect`)."""

        defect: Defect = "none"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.device_flags = vfio.VFIO_DEVICE_FLAGS_PLATFORM | vfio.VFIO_DEVICE_FLAGS_RESET
        window = Window(SIZE)
        self.engine = CopyEngine(window, 0, self._evaluate, options.defect)
        self._line = LevelLine(lambda: self.engine.asserted)
        self.regions = (window,)
        self.irqs = (self._line,)
        self.power_on()

    def plugged(self, plug: Plug) -> None:
        super().plugged(plug)
        self.engine.dma = plug.dma

    def power_on(self) -> None:
        self.engine.power_on()

    def look(self) -> bool:
        return self.engine.look()

    def reset(self) -> None:
        self.engine.reset()

    def _evaluate(self) -> None:
        self._line.evaluate()
