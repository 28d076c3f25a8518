# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses for a device's DMA: where something can be mapped, and where nothing can."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.conform.case import Case

EVERYWHERE = ((0, (1 << 64) - 1),)
_LOWEST = 1 << 20  # below, a PC has had all sorts of things
_ALIGNMENT = 2 << 20


def page_of(case: Case) -> int:
    """The smallest size that can be mapped, as far as it is told; at least a page of this machine."""
    sizes = case.dma.info().page_sizes
    return max(mmap.PAGESIZE, sizes & -sizes)


def free(case: Case, size: int, highest: int = EVERYWHERE[0][1]) -> int:
    """Where ``size`` bytes can be mapped, none of them above ``highest``. Raises Missing where there is no place."""
    for first, last in case.dma.info().iova_ranges or EVERYWHERE:
        start = -(-max(first, _LOWEST) // _ALIGNMENT) * _ALIGNMENT
        if start + size - 1 <= min(last, highest):
            return start
    return case.missing(f"there is no place for {size:#x} bytes below {highest:#x}")


def gaps(case: Case) -> Iterator[int]:
    """Addresses of pages between those ranges that can be mapped, or behind the last; none where nothing is told."""
    page = page_of(case)
    ranges = case.dma.info().iova_ranges
    for number, (_, last) in enumerate(ranges):
        start = -(-(last + 1) // page) * page
        following = ranges[number + 1][0] if number + 1 < len(ranges) else 1 << 64
        if start + page <= following:
            yield start
