# SPDX-License-Identifier: GPL-2.0-or-later
"""A PCI device that moves data and interrupts, in the manner of QEMU's edu (docs/specs/edu.rst) with ids of its own.

PCI 5054:444d (not registered with the PCI-SIG), class 0880. BAR 0 is memory: registers in its first page, trapped, and
a buffer in its upper half, which clients can map and on which DMA works. BAR 2 holds the MSI-X table at 0 and the
pending bits, always 0, at 0x800: masks are kept by the VMM, so the device never has a message to hold back. MSI and
MSI-X have several vectors, and INTx is a level. An Advanced Features capability offers a function level reset.

Registers in BAR 0. What edu has too is where edu has it. They take aligned accesses of 4 bytes, those of 8 bytes also
of 8; every other access reads ones and writes nothing, as do registers that are read only or not there.

| offset | bytes | access | register |
|--------|-------|--------|----------|
| 0x00   | 4 | RO | identification, 0xRRrr5054: major and minor version |
| 0x04   | 4 | RW | liveness: reads back inverted |
| 0x08   | 4 | RW | factorial: replaced by its factorial modulo 2**32; no writes while computing |
| 0x20   | 4 | RW | status: 0x01 computing (RO), 0x80 interrupt when the factorial is done |
| 0x24   | 4 | RO | interrupt status: causes that were raised and not acknowledged |
| 0x60   | 4 | WO | interrupt raise: adds these causes and interrupts on vector 0 |
| 0x64   | 4 | WO | interrupt acknowledge: takes these causes back |
| 0x68   | 4 | WO | interrupt raise by vector: N (0 to 15) adds cause 1 << (16 + N) and interrupts on vector N |
| 0x70   | 4 | RO | buffer offset in BAR 0, also the buffer's address for DMA |
| 0x74   | 4 | RO | buffer size |
| 0x78   | 4 | RO | resets since the device was made |
| 0x80   | 8 | RW | DMA source address |
| 0x88   | 8 | RW | DMA destination address |
| 0x90   | 8 | RW | DMA count, bytes |
| 0x98   | 8 | RW | DMA command: 0x1 start, reads 1 while running; 0x2 direction: 0 from RAM to the buffer, 1 from the |
|        |   |    | buffer to RAM; 0x4 interrupt at the end; bits 8 to 11 the vector for it. Without 0x1 nothing is |
|        |   |    | written here, and while running to no register of DMA |
| 0xa0   | 4 | RO | DMA result, see `outcome.Result` |
| 0xa8   | 8 | RO | DMA fault: the RAM address of the burst (128 KiB at most) that failed |
| 0xb0   | 8 | RO | DMA transferred: bytes of whole bursts |

Interrupt causes: 0x1 factorial done, 0x100 DMA done, 0x200 DMA failed, and those that were raised. Each interrupts
once by MSI and MSI-X; INTx is asserted as long as a cause is left. Vectors beyond those that the guest enabled (MSI) or
that are in the table (MSI-X) wrap around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from passthru.emulation.model import Access, Model
from passthru.emulation.models.dma_engine.config_space import ConfigSpace
from passthru.emulation.models.dma_engine.defects import Defect  # noqa: TC001 (the options' types are read at run time)
from passthru.emulation.models.dma_engine.interrupts import InterruptController
from passthru.emulation.models.dma_engine.registers import MsixBar, RegistersAndBuffer
from passthru.emulation.models.dma_engine.transfer import DmaController
from passthru.emulation.regions import Region
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from passthru.emulation.model import Plug

Vectors = Literal[0, 1, 2, 4, 8, 16]

_BAR0, _BAR2 = vfio.VFIO_PCI_BAR0_REGION_INDEX, vfio.VFIO_PCI_BAR0_REGION_INDEX + 2


class DmaEngine(Model):
    """See the module's page; `reset` restores all but the count of resets."""

    access: ClassVar[Access] = "trapped"

    @dataclass(frozen=True)
    class Options(Model.Options):
        """What it has, and what is wrong with it.

        ``dma``: through guest RAM that the client shares, or by DMA_READ and DMA_WRITE messages alone. ``buffer_kib``:
        the size of its buffer. ``msi`` and ``msix``: vectors, 0 for no such capability. ``defect``: a fault to inject,
        so that what is to find it can prove that it does (see `defects`).
        """

        dma: Literal["mapped", "messages"] = "mapped"
        buffer_kib: Literal[64, 1024, 16384] = 64
        msi: Vectors = 8
        msix: Vectors = 8
        defect: Defect = "none"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.device_flags = vfio.VFIO_DEVICE_FLAGS_PCI | vfio.VFIO_DEVICE_FLAGS_RESET
        self.maps_memory = options.dma == "mapped"
        buffer_size = options.buffer_kib << 10
        self.config = ConfigSpace(
            bars={0: 2 * buffer_size, 2: MsixBar.SIZE} if options.msix else {0: 2 * buffer_size},
            msi=options.msi,
            msix=options.msix,
            function_reset=self.reset,
        )
        self.interrupts = InterruptController(self.config, options.msi, options.msix, options.defect)
        self.config.command_written = self.interrupts.evaluate
        self.dma = DmaController(self.config, self.interrupts, options.defect)
        self.bar = RegistersAndBuffer(buffer_size, self.interrupts, self.dma)
        self.irqs = self.interrupts.indices
        regions = [Region() for _ in range(vfio.VFIO_PCI_NUM_REGIONS)]
        regions[_BAR0] = self.bar
        if options.msix:
            regions[_BAR2] = MsixBar()
        regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX] = self.config
        self.regions = regions

    def plugged(self, plug: Plug) -> None:
        super().plugged(plug)
        self.bar.plug = self.dma.plug = plug

    def unplugged(self) -> None:
        self.bar.abandon()
        self.dma.abandon()
        super().unplugged()

    def reset(self) -> None:
        self.config.reset()
        self.interrupts.reset()
        self.dma.reset()
        self.bar.reset()
