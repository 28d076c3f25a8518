# SPDX-License-Identifier: GPL-2.0-or-later
"""BAR 0, the registers and the buffer, and BAR 2, where the MSI-X table would be. The package's page has the table."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, ClassVar

from passthru.emulation.models.dma_engine.interrupts import CAUSE_FACTORIAL
from passthru.emulation.regions import MemoryRegion, Region

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.model import Plug
    from passthru.emulation.models.dma_engine.interrupts import InterruptController
    from passthru.emulation.models.dma_engine.transfer import DmaController

IDENTIFICATION = 0x01005054
STATUS_COMPUTING, STATUS_INTERRUPT = 0x01, 0x80

_FIRST_OF_8_BYTES = 0x80
_ALL_FACTORS_OF_2 = 34  # from here on a factorial is a multiple of 2**32


class RegistersAndBuffer(MemoryRegion):
    """Registers in the first page, the buffer in the upper half; only the buffer can be mapped."""

    plug: Plug

    def __init__(self, buffer_size: int, interrupts: InterruptController, dma: DmaController) -> None:
        super().__init__(2 * buffer_size, areas=((buffer_size, buffer_size),))
        self._buffer = buffer_size  # offset and size
        self._interrupts = interrupts
        self._dma = dma
        dma.memory, dma.window = self.memory, (buffer_size, 2 * buffer_size)
        self._liveness = self._factorial = self._status = self._resets = 0
        self._readers: dict[int, Callable[[], int]] = {
            0x00: lambda: IDENTIFICATION,
            0x04: lambda: self._liveness,
            0x08: lambda: self._factorial,
            0x20: lambda: self._status,
            0x24: lambda: interrupts.status,
            0x70: lambda: self._buffer,
            0x74: lambda: self._buffer,
            0x78: lambda: self._resets & 0xFFFFFFFF,
            0x80: lambda: dma.source,
            0x88: lambda: dma.destination,
            0x90: lambda: dma.count,
            0x98: lambda: dma.command,
            0xA0: lambda: dma.result,
            0xA8: lambda: dma.fault,
            0xB0: lambda: dma.transferred,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            0x04: self._write_liveness,
            0x08: self._write_factorial,
            0x20: self._write_status,
            0x60: interrupts.interrupt,
            0x64: interrupts.acknowledge,
            0x68: interrupts.raise_vector,
            0x80: lambda value: self._write_dma("source", value),
            0x88: lambda value: self._write_dma("destination", value),
            0x90: lambda value: self._write_dma("count", value),
            0x98: dma.write_command,
        }

    def reset(self) -> None:
        """Registers and buffer are 0; the reset is counted."""
        self._liveness = self._factorial = self._status = 0
        self.memory.madvise(mmap.MADV_REMOVE)  # the pages go, and 0 is what they are when they come back
        self._resets += 1

    def abandon(self) -> None:
        """The client is gone, and with it a computation that it deferred."""
        self._status &= ~STATUS_COMPUTING

    def read(self, offset: int, count: int) -> bytes:
        if offset >= self._buffer:
            return super().read(offset, count)
        base, shift = self._place(offset, count)
        if (reader := self._readers.get(base)) is None:
            return b"\xff" * count
        return (reader() >> shift & (1 << 8 * count) - 1).to_bytes(count, "little")

    def write(self, offset: int, data: bytes) -> None:
        if offset >= self._buffer:
            super().write(offset, data)
            return
        base, shift = self._place(offset, len(data))
        if (writer := self._writers.get(base)) is None:
            return
        value = int.from_bytes(data, "little")
        if len(data) == 4 and base >= _FIRST_OF_8_BYTES and base != 0x98:  # the other half stays
            value = self._readers[base]() & ~(0xFFFFFFFF << shift) | value << shift
        elif shift:
            return  # the upper half of the command has nothing
        writer(value)

    @staticmethod
    def _place(offset: int, count: int) -> tuple[int, int]:
        """Which register an access means and from which bit on; -1 for none."""
        if offset < _FIRST_OF_8_BYTES:
            return (offset, 0) if count == 4 else (-1, 0)
        if count == 4 and not offset % 4:
            return offset & ~7, 8 * (offset & 4)
        return (offset, 0) if count == 8 else (-1, 0)

    def _write_liveness(self, value: int) -> None:
        self._liveness = value ^ 0xFFFFFFFF

    def _write_factorial(self, value: int) -> None:
        if self._status & STATUS_COMPUTING:
            return
        resets = self._resets
        self.plug.defer(lambda: self._compute(resets))  # may be refused: nothing has begun then
        self._factorial = value
        self._status |= STATUS_COMPUTING

    def _compute(self, resets: int) -> None:
        if resets != self._resets or not self._status & STATUS_COMPUTING:
            return
        value = self._factorial
        self._factorial = 0 if value >= _ALL_FACTORS_OF_2 else math.factorial(value) & 0xFFFFFFFF
        self._status &= ~STATUS_COMPUTING
        if self._status & STATUS_INTERRUPT:
            self._interrupts.interrupt(CAUSE_FACTORIAL)

    def _write_status(self, value: int) -> None:
        self._status = self._status & ~STATUS_INTERRUPT | value & STATUS_INTERRUPT

    def _write_dma(self, register: str, value: int) -> None:
        if not self._dma.running:
            setattr(self._dma, register, value)


class MsixBar(Region):
    """The table and the pending bits; a VMM has the table for itself, and no bit is ever pending."""

    SIZE: ClassVar[int] = 0x1000

    def __init__(self) -> None:
        super().__init__(self.SIZE)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(count)

    def write(self, offset: int, data: bytes) -> None:
        pass
