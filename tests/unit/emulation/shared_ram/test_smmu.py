# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMMU finds a stream's tables by the registers, and tells faults as a driver expects them."""

from __future__ import annotations

import errno

import pytest

from tests.unit.emulation.shared_ram.made_ram import (
    CONTEXT_SPIS,
    DATA,
    GLOBAL_SPI,
    PAGE,
    READ_ONLY,
    STREAM,
    MadeSmmu,
    Tables,
)

IOVA = 0x10_0000
FSR, FAR, FSYNR0 = 0x58, 0x60, 0x68
TRANSLATION, PERMISSION, FORMAT = 0x2, 0x8, 0x400
EVERYTHING = 1 << 64
BYPASS, FAULT = 1 << 16, 2 << 16


@pytest.fixture
def mapped(made: MadeSmmu) -> MadeSmmu:
    """STREAM has a page at IOVA, by context 3."""
    tables = Tables(made.ram)
    tables.map(IOVA, DATA)
    tables.map(IOVA + 0x1000, DATA + 0x1000, PAGE | READ_ONLY)
    made.context(3, tables)
    made.route(5, STREAM, 3)
    made.enable()
    return made


def refused(made: MadeSmmu, stream: int, iova: int, *, write: bool = False) -> int:
    with pytest.raises(OSError) as caught:
        made.smmu.translate(stream, iova, write=write)
    assert caught.value.errno
    return caught.value.errno


def test_what_a_driver_finds(made: MadeSmmu) -> None:
    """The bits that drivers/iommu/arm/arm-smmu looks at."""
    identification = made.get(0x20)
    assert identification >> 30 & 1 and identification >> 27 & 1  # stage 1, stream matching
    assert identification & 0xFF == 32
    assert made.get(0x24) & 0xFF == 16
    assert 2 << (made.get(0x24) >> 28 & 7) + 1 << 12 == 0x20000
    assert made.get(0x28) >> 12 & 7 == 7  # three granules
    assert made.get(0x3C) == 0x20
    assert made.get(0x74) == 0  # no TLB sync is ever under way


def test_before_a_driver_came_all_goes_through(made: MadeSmmu) -> None:
    assert made.smmu.translate(STREAM, 0x1234, write=True) == (0x1234, EVERYTHING)


def test_a_page(mapped: MadeSmmu) -> None:
    assert mapped.smmu.translate(STREAM, IOVA + 0x10, write=True) == (DATA + 0x10, 0xFF0)
    assert mapped.pulses == []


def test_a_match_with_a_mask(mapped: MadeSmmu) -> None:
    mapped.route(5, STREAM, 3, mask=0xF)
    assert mapped.smmu.translate(STREAM | 0xA, IOVA, write=False) == (DATA, 0x1000)
    assert refused(mapped, STREAM + 0x10, IOVA) == errno.EFAULT


def test_nothing_mapped(mapped: MadeSmmu) -> None:
    assert refused(mapped, STREAM, IOVA + 0x2008, write=True) == errno.EFAULT
    bank = mapped.bank(3)
    assert mapped.get(bank + FSR) == FORMAT | TRANSLATION
    assert mapped.get(bank + FAR, 8) == IOVA + 0x2008
    assert mapped.get(bank + FSYNR0) == 3 | 1 << 4
    assert mapped.get(0x1400 + 4 * 3) == STREAM
    assert mapped.pulses == [CONTEXT_SPIS[3]]


def test_mapped_for_reading_only(mapped: MadeSmmu) -> None:
    assert mapped.smmu.translate(STREAM, IOVA + 0x1000, write=False) == (DATA + 0x1000, 0x1000)
    assert refused(mapped, STREAM, IOVA + 0x1000, write=True) == errno.EACCES
    assert mapped.get(mapped.bank(3) + FSR) == FORMAT | PERMISSION


def test_a_fault_without_the_interrupt(mapped: MadeSmmu) -> None:
    mapped.put(mapped.bank(3), 0x1)
    assert refused(mapped, STREAM, 0) == errno.EFAULT
    assert mapped.get(mapped.bank(3) + FSR) and mapped.pulses == []


def test_an_unknown_stream(mapped: MadeSmmu) -> None:
    assert refused(mapped, 0x99, IOVA) == errno.EFAULT
    assert mapped.get(0x48) == 0x2
    assert mapped.get(0x54) == 0x99
    assert mapped.get(0x40, 8) == IOVA
    assert mapped.pulses == [GLOBAL_SPI]


def test_an_unknown_stream_where_that_is_no_fault(mapped: MadeSmmu) -> None:
    mapped.put(0x00, mapped.get(0x00) & ~(1 << 10))
    assert mapped.smmu.translate(0x99, IOVA, write=False) == (IOVA, EVERYTHING)


def test_a_stream_that_is_routed_elsewhere(mapped: MadeSmmu) -> None:
    mapped.route(5, STREAM, BYPASS)
    assert mapped.smmu.translate(STREAM, IOVA, write=False) == (IOVA, EVERYTHING)
    mapped.route(5, STREAM, FAULT)
    assert refused(mapped, STREAM, IOVA) == errno.EFAULT
    assert mapped.get(0x48) == 0x1
    assert mapped.pulses == [GLOBAL_SPI]


@pytest.mark.parametrize("context", [8, 255, 4])
def test_a_context_that_is_none(mapped: MadeSmmu, context: int) -> None:
    """Beyond the last one, or never set up."""
    mapped.route(5, STREAM, context)
    assert refused(mapped, STREAM, IOVA) == errno.EFAULT
    assert mapped.pulses == [GLOBAL_SPI]


def test_a_context_that_is_switched_off(mapped: MadeSmmu) -> None:
    mapped.put(mapped.bank(3), 0)
    assert mapped.smmu.translate(STREAM, IOVA, write=False) == (IOVA, EVERYTHING)


def test_an_unmap_counts_at_once(mapped: MadeSmmu) -> None:
    mapped.smmu.translate(STREAM, IOVA, write=False)
    mapped.ram.write(mapped.get(mapped.bank(3) + 0x20, 8) & (1 << 48) - 1, bytes(4096))
    assert refused(mapped, STREAM, IOVA) == errno.EFAULT
