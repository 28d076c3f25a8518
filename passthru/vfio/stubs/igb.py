# SPDX-License-Identifier: GPL-2.0-or-later
"""Intel's 82576, PCI 8086:10c9: every kind of interrupt by its cause set registers, and DMA by its PHY's loopback.

A ``copy`` is a frame. Its head, a kilobyte of ours, goes before the data, and is received before them: buffers of the
receiver are whole kilobytes, so that the data come to begin where they are wanted. Registers are those of the 82576's
data sheet and drivers/net/ethernet/intel/igb/e1000_regs.h. It was tried with QEMU's (hw/net/igb_core.c), which reads
anything from addresses that are not mapped, writes nothing to them, and tells of neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.linux_vfio import (
    VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSI_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
)
from passthru.vfio.stubs.igb_rings import HEAD, LARGEST, Rings
from passthru.vfio.stubs.pci import decode_and_master, interrupts_of
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub, Workspace, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

VENDOR, DEVICE = 0x8086, 0x10C9
E1000_CTRL, E1000_STATUS, E1000_MDIC = 0x00000, 0x00008, 0x00020
E1000_CTRL_FD, E1000_CTRL_SLU, E1000_CTRL_SPD_1000 = 0x1, 0x40, 0x200
E1000_CTRL_FRCSPD, E1000_CTRL_FRCDPX, E1000_CTRL_RST = 0x800, 0x1000, 0x04000000
E1000_STATUS_LU = 0x2
E1000_MDIC_PHY_1, E1000_MDIC_OP_WRITE = 1 << 21, 0x04000000
E1000_MDIC_READY, E1000_MDIC_ERROR = 0x10000000, 0x40000000
MII_BMCR = 0
BMCR_SPEED1000, BMCR_FULLDPLX, BMCR_ANRESTART, BMCR_ANENABLE, BMCR_LOOPBACK = 0x0040, 0x0100, 0x0200, 0x1000, 0x4000
E1000_ICR, E1000_ICS, E1000_IMS, E1000_IMC, E1000_GPIE = 0x00C0, 0x00C8, 0x00D0, 0x00D8, 0x1514
E1000_EICS, E1000_EIMS, E1000_EIMC, E1000_EICR = 0x1520, 0x1524, 0x1528, 0x1580
E1000_GPIE_MSIX_MODE = 0x10
E1000_ICR_TXDW = 0x1
E1000_VFTA = 0x5600
_ALL = 0xFFFFFFFF


class Igb(Stub):
    """The physical function, without virtual ones."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.bus, identity.vendor, identity.device) == ("pci", VENDOR, DEVICE)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, VFIO_PCI_BAR0_REGION_INDEX)
        self._rings: Rings | None = None
        self._loops = False

    def prepare(self) -> None:
        decode_and_master(self.device)
        self._loops = False
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return (Part(VFIO_PCI_BAR0_REGION_INDEX, E1000_VFTA, 128 * 4, 4),)

    @property
    def readable(self) -> tuple[Part, ...]:
        return self.scratch

    @property
    def interrupts(self) -> dict[int, int]:
        indexes = VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX
        return interrupts_of(self.device, *indexes)

    def interrupt(self, index: int, number: int = 0) -> None:
        self.quiet()  # a cause that is already set interrupts nobody
        registers = self._registers
        if index == VFIO_PCI_MSIX_IRQ_INDEX:
            registers[E1000_GPIE] = E1000_GPIE_MSIX_MODE
            registers[E1000_EIMS] = 1 << number
            registers[E1000_EICS] = 1 << number
        else:
            registers[E1000_GPIE] = 0
            registers[E1000_IMS] = E1000_ICR_TXDW
            registers[E1000_ICS] = E1000_ICR_TXDW

    def quiet(self) -> None:
        registers = self._registers
        registers[E1000_EIMC] = registers[E1000_IMC] = _ALL
        registers[E1000_EICR] = registers[E1000_ICR] = _ALL
        registers.get(E1000_ICR, 4)  # which brings the writes to the device

    def lend(self, workspace: Workspace) -> None:
        self._rings = Rings(self._registers, workspace)

    @property
    def workspace_size(self) -> int:
        return Rings.SIZE

    def copy(self, source: int, destination: int, size: int) -> None:
        if self._rings is None:
            raise RuntimeError("igb needs a workspace before it can copy; lend it one")
        if not self._loops:
            self._loop_back()
        try:
            self._rings.send(source, destination, size)
        except TimeoutError:
            self._restart()  # it may have taken half a frame, and would add the next one to it
            raise

    @property
    def largest_copy(self) -> int:
        return LARGEST - HEAD

    def _loop_back(self) -> None:
        """Have the link up, which takes the PHY a while after a reset; then nothing leaves the card any more."""
        registers = self._registers
        forced = E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPX | E1000_CTRL_SPD_1000 | E1000_CTRL_FD
        if not registers[E1000_STATUS] & E1000_STATUS_LU:
            registers[E1000_CTRL] = registers[E1000_CTRL] | E1000_CTRL_SLU
            self._write_phy(BMCR_ANENABLE | BMCR_ANRESTART | BMCR_FULLDPLX | BMCR_SPEED1000)
            wait_until(lambda: registers[E1000_STATUS] & E1000_STATUS_LU, "the link of the card", self.SECONDS)
        self._write_phy(BMCR_LOOPBACK | BMCR_FULLDPLX | BMCR_SPEED1000)
        registers[E1000_CTRL] = registers[E1000_CTRL] | E1000_CTRL_SLU | forced
        self._loops = True

    def _restart(self) -> None:
        registers = self._registers
        registers[E1000_CTRL] = registers[E1000_CTRL] | E1000_CTRL_RST
        wait_until(lambda: not registers[E1000_CTRL] & E1000_CTRL_RST, "the end of the card's reset", self.SECONDS)
        self._loops = False
        self.quiet()

    def _write_phy(self, value: int) -> None:
        registers = self._registers
        registers[E1000_MDIC] = MII_BMCR << 16 | E1000_MDIC_PHY_1 | E1000_MDIC_OP_WRITE | value
        done = E1000_MDIC_READY | E1000_MDIC_ERROR
        wait_until(lambda: registers[E1000_MDIC] & done, "an answer of the card's PHY", self.SECONDS)
