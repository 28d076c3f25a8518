# SPDX-License-Identifier: GPL-2.0-or-later
"""Causes and vectors: what the device raises, and by which kind of interrupt it goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.interrupts import ActiveIndex, Interrupts, IrqIndex, LevelLine
from passthru.emulation.models.dma_engine.config_space import PCI_COMMAND_INTX_DISABLE
from passthru.emulation.models.dma_engine.defects import INTERRUPTS_BETWEEN_LOST_ONES, Defect
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from passthru.emulation.models.dma_engine.config_space import ConfigSpace

CAUSE_FACTORIAL, CAUSE_DMA_DONE, CAUSE_DMA_FAILED = 0x1, 0x100, 0x200
FIRST_VECTOR_CAUSE = 16
MOST_VECTORS = 16


class InterruptController:
    """``indices`` are VFIO's five; ``status`` holds the causes that were raised and not acknowledged."""

    def __init__(self, config: ConfigSpace, msi: int, msix: int, defect: Defect) -> None:
        self._config = config
        self._defect = defect
        self._active = ActiveIndex()
        self._intx = LevelLine(self._asserted, self._active)
        self._msi = Interrupts(vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_NORESIZE, msi, self._active)
        self._msix = Interrupts(vfio.VFIO_IRQ_INFO_EVENTFD, msix, self._active)
        self.indices: tuple[IrqIndex, ...] = (
            self._intx,
            self._msi if msi else IrqIndex(),
            self._msix if msix else IrqIndex(),
            IrqIndex(),
            IrqIndex(),
        )
        self.status = 0
        self._sent = 0  # messages, for the defects
        self._last_vector = 0

    def reset(self) -> None:
        """No causes are left; eventfds are the client's and stay."""
        self.status = 0
        self._sent = self._last_vector = 0

    def interrupt(self, causes: int, vector: int = 0) -> None:
        """Add ``causes`` and interrupt on ``vector``."""
        self.status |= causes
        if not causes:
            return
        self._last_vector = vector
        self._sent += 1
        if self._defect == "lost-interrupt" and not self._sent % INTERRUPTS_BETWEEN_LOST_ONES:
            return
        self._send(vector ^ 1 if self._defect == "wrong-vector" else vector)

    def raise_vector(self, vector: int) -> None:
        """Interrupt on ``vector`` by the cause that belongs to it; one that no device can have is ignored."""
        if vector < MOST_VECTORS:
            self.interrupt(1 << FIRST_VECTOR_CAUSE + vector, vector)

    def acknowledge(self, causes: int) -> None:
        """Take ``causes`` back."""
        taken = self.status & causes
        self.status &= ~causes
        if taken and self._defect == "extra-interrupt":
            self._send(self._last_vector)

    def evaluate(self) -> None:
        """Look anew whether INTx is asserted: the guest may have enabled it."""
        if self._active.index is self._intx:
            self._intx.evaluate()

    def _asserted(self) -> bool:
        return bool(self.status) and not self._config.command & PCI_COMMAND_INTX_DISABLE

    def _send(self, vector: int) -> None:
        if self._active.index is self._msix:
            self._msix.trigger(vector % self._msix.limit)
        elif self._active.index is self._msi:
            self._msi.trigger(vector % self._config.msi_vectors)
        else:
            self.evaluate()
