# SPDX-License-Identifier: GPL-2.0-or-later
"""What Linux would have written: page tables, and the registers of the SMMU that lead to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.shared_ram import smmu as hardware
from passthru.emulation.shared_ram.ram import GuestRam
from passthru.emulation.shared_ram.smmu import Smmu

if TYPE_CHECKING:
    from pathlib import Path

BASE, SIZE = 0x40000000, 16 << 20
TABLES = BASE + 0x100000
"""Where tables begin; they grow upwards to DATA."""
DATA = BASE + 0x800000
REGISTERS = BASE + 0x700000
STREAM = 0x40
GLOBAL_SPI, CONTEXT_SPIS = 80, list(range(81, 97))

VALID, TABLE, ACCESSED, UNPRIVILEGED, READ_ONLY = 0x1, 0x2, 1 << 10, 1 << 6, 1 << 7
PAGE = VALID | TABLE | ACCESSED | UNPRIVILEGED
BLOCK = VALID | ACCESSED | UNPRIVILEGED
ENABLED = 0x00200C36
"""sCR0 as arm_smmu_device_reset leaves it: faults are reported, unknown streams are faults, CLIENTPD is off."""
TRANSLATES = 0x1067
"""SCTLR as arm_smmu_write_context_bank leaves it: M and CFIE are in it."""

TG0 = {12: 0, 14: 2, 16: 1}


class Tables:
    """Tables of one context in ``ram``, ``granule`` bits a page, for addresses of ``bits`` bits."""

    def __init__(self, ram: GuestRam, granule: int = 12, bits: int = 48, at: int = TABLES) -> None:
        self.ram = ram
        self.granule = granule
        self.stride = granule - 3
        self.first_level = 4 - -(-(bits - granule) // self.stride)
        self.tcr = (64 - bits) | TG0[granule] << 14 | 1 << 23
        self._next = at
        self.root = self._new()

    def map(self, iova: int, place: int, attributes: int = PAGE, level: int = 3, above: int = 0) -> None:
        """One entry at ``level``, and the tables that lead to it, which get the bits ``above`` too."""
        table = self.root
        for step in range(self.first_level, level):
            at = table + 8 * self._index(iova, step)
            if not self.ram.entry(at) & VALID:
                self.put(at, self._new() | VALID | TABLE | above)
            table = self.ram.entry(at) & (1 << 48) - 1 & -(1 << self.granule)
        self.put(table + 8 * self._index(iova, level), place | attributes)

    def put(self, at: int, entry: int) -> None:
        """Write an entry."""
        self.ram.write(at, entry.to_bytes(8, "little"))

    def _index(self, iova: int, level: int) -> int:
        return iova >> self.granule + self.stride * (3 - level) & (1 << self.stride) - 1

    def _new(self) -> int:
        place = -(-self._next >> self.granule) << self.granule
        self._next = place + (1 << self.granule)
        assert self._next <= REGISTERS
        self.ram.write(place, bytes(1 << self.granule))
        return place


class MadeSmmu:
    """An SMMU with its registers in ``ram``, as a driver has set it up; ``pulses`` are the interrupts it sent."""

    def __init__(self, ram: GuestRam) -> None:
        self.ram = ram
        self.pulses: list[int] = []
        self.smmu = Smmu(
            ram.part(REGISTERS, hardware.SIZE),
            ram,
            self.pulses.append,
            global_spi=GLOBAL_SPI,
            context_spis=CONTEXT_SPIS,
        )
        self.smmu.power_on()

    def get(self, register: int, size: int = 4) -> int:
        """A register's value."""
        return int.from_bytes(self.ram.read(REGISTERS + register, size), "little")

    def put(self, register: int, value: int, size: int = 4) -> None:
        """Write a register."""
        self.ram.write(REGISTERS + register, value.to_bytes(size, "little"))

    def bank(self, context: int) -> int:
        """Where a context's registers are."""
        return 0x10000 + 0x1000 * context

    def enable(self) -> None:
        """What arm_smmu_device_reset does last."""
        self.put(0x00, ENABLED)

    def route(self, number: int, stream: int, to: int, mask: int = 0) -> None:
        """A stream matching register, and where it leads (S2CR)."""
        self.put(0xC00 + 4 * number, to)
        self.put(0x800 + 4 * number, 1 << 31 | mask << 16 | stream)

    def context(self, number: int, tables: Tables) -> None:
        """A context bank with these tables."""
        self.put(0x1800 + 4 * number, 1)
        self.put(0x1000 + 4 * number, 0x1F300)
        bank = self.bank(number)
        self.put(bank + 0x30, tables.tcr)
        self.put(bank + 0x20, tables.root | 5 << 48, 8)
        self.put(bank, TRANSLATES)


def make_ram(directory: Path) -> GuestRam:
    """A file of RAM, empty."""
    return GuestRam(str(directory / "ram"), BASE, SIZE)
