# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine itself: registers somewhere in a window. The package's page has the table.

It is a part of other devices too, each with an address space and an interrupt of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from passthru.emulation.copy_registers import (
    ACKNOWLEDGE,
    CAUSES,
    COMMAND,
    COUNT,
    DESTINATION,
    FAULT,
    ID,
    IDENTIFICATION,
    INTERRUPT,
    RAISE,
    RESET,
    RESETS,
    RESULT,
    SOURCE,
    START,
    TRANSFERRED,
)
from passthru.emulation.models.outcome import Result, flipped, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.emulation.model import AddressSpace
    from passthru.emulation.windows import Window

CAUSE_DONE, CAUSE_FAILED = 0x1, 0x2
MOST_BYTES = 16 << 20
"""Of one transfer: the driver chooses the size, and nothing else is served meanwhile."""

Defect = Literal[
    "none",
    "wrong-byte",  # the last byte that is copied has a bit flipped
    "page-wrap",  # the destination does not carry from a page into the next
    "silent-fault",  # a transfer that failed is reported as done
    "lost-interrupt",  # no interrupt ever comes
]

_PAGE = 4096
_FIRST_REGISTER, _END = SOURCE, 0x48


class CopyEngine:
    """Registers from ``base`` on in ``window``; ``evaluate`` is called when there may be causes or no more of them."""

    dma: AddressSpace

    def __init__(self, window: Window, base: int, evaluate: Callable[[], None], defect: Defect = "none") -> None:
        self._window = window
        self._base = base
        self._evaluate = evaluate
        self._defect = defect
        self._resets = 0
        self._causes = 0

    @property
    def asserted(self) -> bool:
        """Whether there is a cause that was not acknowledged."""
        return bool(self._causes) and self._defect != "lost-interrupt"

    def power_on(self) -> None:
        """The registers' first values."""
        words, base = self._window.words, self._base
        self._causes = 0
        words.put(base + ID, IDENTIFICATION)
        words.put(base + RESETS, self._resets)
        for register in range(_FIRST_REGISTER, _END, 8):  # the doorbell for a reset is the last of them
            words.put_long(base + register, 0)

    def reset(self) -> None:
        """As at the beginning, but that resets are counted."""
        self._resets += 1
        self._causes = 0
        self._evaluate()
        self.power_on()

    def look(self) -> bool:
        """Answer the doorbells; whether one rang."""
        words, base = self._window.words, self._base
        rang = False
        if words.get(base + RESET):
            self.reset()  # which is what sets this doorbell back
            return True
        if causes := words.get(base + ACKNOWLEDGE):
            self._set_causes(self._causes & ~causes)
            words.put(base + ACKNOWLEDGE, 0)
            rang = True
        if causes := words.get(base + RAISE):
            words.put(base + RAISE, 0)
            self._set_causes(self._causes | causes)
            rang = True
        if command := words.get(base + COMMAND):
            self._run(command)
            rang = True
        return rang

    def _run(self, command: int) -> None:
        words, base = self._window.words, self._base
        if not command & START:
            words.put(base + COMMAND, 0)
            return
        source, destination, count = (words.get_long(base + register) for register in (SOURCE, DESTINATION, COUNT))
        transferred = fault = 0
        result = Result.DONE if 0 < count <= MOST_BYTES else Result.OUT_OF_BUFFER
        if result is Result.DONE:
            for start, end, size in self._pieces(source, destination, count):
                at = start
                try:
                    data = self.dma.read(start, size)
                    if self._defect == "wrong-byte" and transferred + size == count:
                        data = flipped(data)
                    at = end
                    self.dma.write(end, data)
                except OSError as error:
                    result, fault = result_of(error), at
                    break
                transferred += size
        if self._defect == "silent-fault":
            result = Result.DONE
        words.put(base + RESULT, result)
        words.put_long(base + FAULT, fault)
        words.put_long(base + TRANSFERRED, transferred)
        words.put(base + COMMAND, 0)
        if command & INTERRUPT:
            self._set_causes(self._causes | (CAUSE_DONE if result is Result.DONE else CAUSE_FAILED))

    def _pieces(self, source: int, destination: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Source, destination and size, within a page each: so the address that a fault tells is exact."""
        done = 0
        while done < count:
            start, end = ((address + done) & (1 << 64) - 1 for address in (source, destination))
            if self._defect == "page-wrap":
                end = destination & -_PAGE | end % _PAGE
            size = min(count - done, _PAGE - start % _PAGE, _PAGE - end % _PAGE)
            yield start, end, size
            done += size

    def _set_causes(self, causes: int) -> None:
        self._causes = causes
        self._window.words.put(self._base + CAUSES, causes)
        self._evaluate()
