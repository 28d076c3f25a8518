# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables are walked as the architecture has it, whatever the granule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.shared_ram.tables import Reason, Regime, WalkFault, walk
from tests.unit.emulation.shared_ram.made_ram import (
    ACCESSED,
    BASE,
    BLOCK,
    DATA,
    PAGE,
    READ_ONLY,
    SIZE,
    TABLE,
    UNPRIVILEGED,
    VALID,
    Tables,
)

if TYPE_CHECKING:
    from passthru.emulation.shared_ram.ram import GuestRam

IOVA = 0x1234_5670_0000
NO_WRITES_BELOW, NO_UNPRIVILEGED_BELOW = 1 << 62, 1 << 61


def translate(tables: Tables, iova: int, *, write: bool = False, privileged: bool = False) -> tuple[int, int]:
    return walk(tables.ram, Regime(tables.root, tables.tcr, privileged), iova, write=write)


def fault(tables: Tables, iova: int, *, write: bool = False) -> tuple[Reason, int]:
    with pytest.raises(WalkFault) as caught:
        translate(tables, iova, write=write)
    return caught.value.reason, caught.value.level


@pytest.mark.parametrize("bits", [32, 39, 42, 48])
@pytest.mark.parametrize("granule", [12, 14, 16])
def test_a_page_of_each_granule(ram: GuestRam, granule: int, bits: int) -> None:
    tables = Tables(ram, granule, bits)
    iova = IOVA & (1 << bits) - 1
    tables.map(iova, DATA)
    assert translate(tables, iova + 0x123) == (DATA + 0x123, (1 << granule) - 0x123)
    assert fault(tables, iova + (1 << granule)) == (Reason.TRANSLATION, 3)
    assert fault(tables, 1 << bits) == (Reason.TRANSLATION, 0)


@pytest.mark.parametrize(
    ("granule", "level", "size"), [(12, 1, 1 << 30), (12, 2, 2 << 20), (14, 2, 32 << 20), (16, 2, 512 << 20)]
)
def test_a_block(ram: GuestRam, granule: int, level: int, size: int) -> None:
    tables = Tables(ram, granule)
    tables.map(0x8_0000_0000, 0x4000_0000, BLOCK, level)
    assert translate(tables, 0x8_0000_0000 + size - 16) == (0x4000_0000 + size - 16, 16)


@pytest.mark.parametrize(("granule", "level"), [(12, 0), (14, 1), (16, 1)])
def test_there_are_no_blocks_at_higher_levels(ram: GuestRam, granule: int, level: int) -> None:
    tables = Tables(ram, granule)
    tables.map(0, 0x4000_0000, BLOCK, level)
    assert fault(tables, 0) == (Reason.TRANSLATION, level)


def test_a_last_entry_must_be_a_page(ram: GuestRam) -> None:
    tables = Tables(ram)
    tables.map(IOVA, DATA, VALID | ACCESSED | UNPRIVILEGED)
    assert fault(tables, IOVA) == (Reason.TRANSLATION, 3)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_level_that_is_missing(ram: GuestRam, level: int) -> None:
    tables = Tables(ram)
    if level:
        tables.map(IOVA, 0, 0, level)
    assert fault(tables, IOVA) == (Reason.TRANSLATION, level)


def test_permissions(ram: GuestRam) -> None:
    tables = Tables(ram)
    tables.map(IOVA, DATA, PAGE | READ_ONLY)
    assert translate(tables, IOVA) == (DATA, 4096)
    assert fault(tables, IOVA, write=True) == (Reason.PERMISSION, 3)
    tables.map(IOVA, DATA, PAGE & ~UNPRIVILEGED)
    assert fault(tables, IOVA) == (Reason.PERMISSION, 3)
    assert translate(tables, IOVA, write=True, privileged=True) == (DATA, 4096)
    tables.map(IOVA, DATA, PAGE & ~ACCESSED)
    assert fault(tables, IOVA) == (Reason.ACCESS_FLAG, 3)


def test_permissions_of_tables_above(ram: GuestRam) -> None:
    tables = Tables(ram)
    tables.map(IOVA, DATA, above=NO_WRITES_BELOW)
    assert translate(tables, IOVA) == (DATA, 4096)
    assert fault(tables, IOVA, write=True) == (Reason.PERMISSION, 3)
    tables = Tables(ram)
    tables.map(IOVA, DATA, above=NO_UNPRIVILEGED_BELOW)
    assert fault(tables, IOVA) == (Reason.PERMISSION, 3)
    assert translate(tables, IOVA, privileged=True) == (DATA, 4096)


def test_a_table_outside_of_ram(ram: GuestRam) -> None:
    tables = Tables(ram)
    tables.put(tables.root, BASE + SIZE | VALID | TABLE)
    assert fault(tables, 0x1000) == (Reason.EXTERNAL, 1)
    assert walk_fault(ram, Regime(0, tables.tcr), 0x1000) == (Reason.EXTERNAL, 0)


@pytest.mark.parametrize("tcr", [0, 63, 52, 16 | 3 << 14, 16 | 1 << 7])
def test_a_tcr_that_makes_no_sense_translates_nothing(ram: GuestRam, tcr: int) -> None:
    """Sizes beyond 48 bits or below a page, a reserved granule, walks that are disabled."""
    assert walk_fault(ram, Regime(BASE, tcr), 0) == (Reason.TRANSLATION, 0)


def walk_fault(ram: GuestRam, regime: Regime, iova: int) -> tuple[Reason, int]:
    with pytest.raises(WalkFault) as caught:
        walk(ram, regime, iova, write=False)
    return caught.value.reason, caught.value.level
