# SPDX-License-Identifier: GPL-2.0-or-later
"""The DMA controller: four registers to start a transfer, three that tell what came of it.

A transfer is deferred work: where RAM is reached by messages, the VMM cannot answer them while its vCPU waits for the
access that started the transfer. The guest may look, and may reset the device, while messages are under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.dma_engine.config_space import PCI_COMMAND_MASTER
from passthru.emulation.models.dma_engine.interrupts import CAUSE_DMA_DONE, CAUSE_DMA_FAILED
from passthru.emulation.models.outcome import Result, flipped, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

    from passthru.emulation.model import Plug
    from passthru.emulation.models.dma_engine.config_space import ConfigSpace
    from passthru.emulation.models.dma_engine.defects import Defect
    from passthru.emulation.models.dma_engine.interrupts import InterruptController

START, TO_RAM, INTERRUPT = 0x1, 0x2, 0x4
VECTOR_SHIFT, VECTOR_MASK = 8, 0xF
_KNOWN = START | TO_RAM | INTERRUPT | VECTOR_MASK << VECTOR_SHIFT

BURST = 128 << 10  # what is copied at a time stays in the processor's cache
_PAGE = 4096


class DmaController:
    """``memory`` is the buffer's region and ``window`` the part of it (start, end) that the buffer is."""

    plug: Plug
    memory: mmap
    window: tuple[int, int]

    def __init__(self, config: ConfigSpace, interrupts: InterruptController, defect: Defect) -> None:
        self._config = config
        self._interrupts = interrupts
        self._defect = defect
        self._generation = 0  # of transfers; a transfer that finds another one was reset
        self.reset()

    @property
    def running(self) -> bool:
        """Whether a transfer was started and has not ended."""
        return bool(self.command & START)

    def reset(self) -> None:
        """Registers are 0, and a transfer that runs ends without a trace."""
        self._generation += 1
        self.source = self.destination = self.count = self.command = 0
        self.result = Result.NONE
        self.fault = self.transferred = 0

    def abandon(self) -> None:
        """The client is gone: a transfer that did not end never will."""
        if self.running:
            self._generation += 1
            self.command &= ~START
            self.result = Result.REFUSED

    def write_command(self, value: int) -> None:
        """Start a transfer; without START nothing happens, as while one runs."""
        if self.running or not value & START:
            return
        generation = self._generation + 1
        self.plug.defer(lambda: self._run(generation))  # may be refused: nothing has begun then
        self._generation = generation
        self.command = value & _KNOWN

    def _run(self, generation: int) -> None:
        if generation != self._generation:
            return
        ram, buffer = (self.destination, self.source) if self.command & TO_RAM else (self.source, self.destination)
        transferred = fault = 0
        result = self._refusal(buffer)
        if result is Result.DONE:
            for ram_at, buffer_at, count in self._bursts(ram, buffer):
                try:
                    self._copy(ram_at, buffer_at, count, generation, last=transferred + count == self.count)
                except OSError as error:
                    fault, result = ram_at, result_of(error)
                if generation != self._generation:
                    return
                if result is not Result.DONE:
                    break
                transferred += count
        self._end(result, transferred, fault)

    def _refusal(self, buffer: int) -> Result:
        start, end = self.window
        if not self._config.command & PCI_COMMAND_MASTER and self._defect != "no-bus-master":
            return Result.NO_BUS_MASTER
        if not start <= buffer < buffer + self.count <= end:
            return Result.OUT_OF_BUFFER
        return Result.DONE

    def _bursts(self, ram: int, buffer: int) -> Iterator[tuple[int, int, int]]:
        done = 0
        while done < self.count:
            at = (ram + done) & (1 << 64) - 1
            count = min(BURST, self.count - done)
            if self._defect == "page-wrap":
                count = min(count, _PAGE - at % _PAGE)
                at = ram & -_PAGE | at % _PAGE
            yield at, buffer + done, count
            done += count

    def _copy(self, ram: int, buffer: int, count: int, generation: int, *, last: bool) -> None:
        """Raises OSError where RAM cannot be reached; a reset meanwhile leaves the buffer alone."""
        wrong = last and self._defect == "wrong-byte"
        stray = b"\xa5" if last and self._defect == "stray-write" else b""
        if self.command & TO_RAM:
            data = self.memory[buffer : buffer + count]
            self.plug.dma.write(ram, (flipped(data) if wrong else data) + stray)
        else:
            data = self.plug.dma.read(ram, count)
            if generation != self._generation:
                return
            data = (flipped(data) if wrong else data) + stray
            self.memory[buffer : min(buffer + len(data), self.window[1])] = data[: self.window[1] - buffer]

    def _end(self, result: Result, transferred: int, fault: int) -> None:
        if result is not Result.DONE and self._defect == "silent-fault":
            result = Result.DONE
        self.result, self.transferred, self.fault = result, transferred, fault
        self.command &= ~START
        if self.command & INTERRUPT:
            cause = CAUSE_DMA_DONE if result is Result.DONE else CAUSE_DMA_FAILED
            self._interrupts.interrupt(cause, self.command >> VECTOR_SHIFT & VECTOR_MASK)
