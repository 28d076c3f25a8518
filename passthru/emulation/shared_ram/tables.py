# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables of the VMSAv8-64 format, stage 1, as Linux's io-pgtable-arm writes them.

Arm ARM, "The AArch64 Virtual Memory System Architecture": granules of 4, 16 and 64 KiB, blocks, the access flag and
permissions. Walked anew for each access: what an unmap took away is gone at once, as if each TLB were invalidated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthru.emulation.shared_ram.ram import GuestRam

_GRANULE_BITS = {0: 12, 1: 16, 2: 14}  # by TCR.TG0
_LEAST_BLOCK_LEVEL = {12: 1, 14: 2, 16: 2}
_VALID, _TABLE_OR_PAGE = 0x1, 0x2
_AP_UNPRIVILEGED, _AP_READ_ONLY, _ACCESSED = 1 << 6, 1 << 7, 1 << 10
_APTABLE_NO_UNPRIVILEGED, _APTABLE_READ_ONLY = 1 << 61, 1 << 62
_ADDRESS = (1 << 48) - 1
_LAST_LEVEL = 3
_MOST_INPUT_BITS = 48


class Reason(Enum):
    """Why an address is not translated; the values are the bits of SMMU_CBn_FSR."""

    TRANSLATION = 0x02
    ACCESS_FLAG = 0x04
    PERMISSION = 0x08
    EXTERNAL = 0x10
    """A table is where no RAM is."""


class WalkFault(Exception):
    """``level`` is that of the entry that is to blame, 0 to 3."""

    def __init__(self, reason: Reason, level: int) -> None:
        super().__init__(f"{reason.name.lower()} fault, level {level}")
        self.reason = reason
        self.level = level


@dataclass(frozen=True)
class Regime:
    """The tables of TTBR0: the root's physical address, and TCR's bits."""

    root: int
    tcr: int
    privileged: bool = False


def walk(ram: GuestRam, regime: Regime, address: int, *, write: bool) -> tuple[int, int]:
    """The physical address for ``address``, and how many bytes from there on one entry maps. Raises WalkFault."""
    granule = _GRANULE_BITS.get(regime.tcr >> 14 & 3)
    input_bits = 64 - (regime.tcr & 0x3F)
    disabled = regime.tcr & 1 << 7  # EPD0
    if granule is None or disabled or address >> input_bits or not granule < input_bits <= _MOST_INPUT_BITS:
        raise WalkFault(Reason.TRANSLATION, 0)
    stride = granule - 3
    level = 4 - -(-(input_bits - granule) // stride)
    table, table_rights = regime.root & _ADDRESS & ~0xF, 0
    while True:
        shift = granule + stride * (_LAST_LEVEL - level)
        index = address >> shift & (1 << min(stride, input_bits - shift)) - 1
        try:
            entry = ram.entry(table + 8 * index)
        except OSError as error:
            raise WalkFault(Reason.EXTERNAL, level) from error
        leaf = level == _LAST_LEVEL or not entry & _TABLE_OR_PAGE
        if not entry & _VALID or (leaf and not _is_leaf(entry, level, granule)):
            raise WalkFault(Reason.TRANSLATION, level)
        if leaf:
            break
        table = entry & _ADDRESS & -(1 << granule)
        table_rights |= entry
        level += 1
    if not entry & _ACCESSED:
        raise WalkFault(Reason.ACCESS_FLAG, level)
    if not _permitted(entry, table_rights, write=write, privileged=regime.privileged):
        raise WalkFault(Reason.PERMISSION, level)
    offset = address & (1 << shift) - 1
    return entry & _ADDRESS & -(1 << shift) | offset, (1 << shift) - offset


def _is_leaf(entry: int, level: int, granule: int) -> bool:
    """Whether a valid entry that is no table is a page, or a block where this granule has blocks."""
    return bool(entry & _TABLE_OR_PAGE) if level == _LAST_LEVEL else level >= _LEAST_BLOCK_LEVEL[granule]


def _permitted(entry: int, table_rights: int, *, write: bool, privileged: bool) -> bool:
    if write and (entry & _AP_READ_ONLY or table_rights & _APTABLE_READ_ONLY):
        return False
    return privileged or (bool(entry & _AP_UNPRIVILEGED) and not table_rights & _APTABLE_NO_UNPRIVILEGED)
