# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the devices in a rig's shared RAM are, said once: for its device tree, and for the process that plays them.

    0x7c000000  portals of a management complex (their base is to be a multiple of 64 MiB)
    0x7e000000  its queues' portals
    0x7fc00000  devices with one page of registers each
    0x7fd00000  control registers of the management complex
    0x7fe00000  the SMMUv2

All of it is RAM of the machine that its kernel leaves alone. This SMMU's numbers of streams have 15 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RAM_BASE = 0x40000000
"""Where the RAM of QEMU's virt begins."""
RESERVED, RESERVED_END = 0x7C000000, 0x80000000
LEAST_MIB = (RESERVED_END - RAM_BASE) >> 20
"""A rig with less RAM has no room for them."""

SMMU = 0x7FE00000
SMMU_GLOBAL_SPI = 80
SMMU_CONTEXT_SPIS = tuple(range(81, 97))
_EDGE = 1

GITS_TRANSLATER = 0x8090040
"""Of the ITS of QEMU's virt: where its messages go."""

_PAGES, _PAGE = 0x7FC00000, 0x1000
_FIRST_SPI, _FIRST_STREAM = 102, 0x7F40
MOST = 8
"""Devices of a kind with one page."""


@dataclass(frozen=True)
class Seat:
    """Where a device is: physical addresses, shared interrupts of the GIC, its first stream, and what the tree says."""

    regions: tuple[int, ...]
    spis: tuple[int, ...]
    stream: int
    values: Mapping[str, str]
    """For its fragment of the device tree: what stands for ``$name`` there."""
    message_streams: tuple[int, ...] = ()
    """Streams whose messages are those of the ITS's device 0, the only one that we can speak for."""


def page_seat(number: int) -> Seat:
    """The seat of the device ``number`` (from 0 to MOST - 1) that has one page and one interrupt."""
    base, spi, stream = _PAGES + number * _PAGE, _FIRST_SPI + number, _FIRST_STREAM + number
    return Seat((base,), (spi,), stream, {"base": f"{base:x}", "spi": str(spi), "stream": f"0x{stream:x}"})


def complex_seat() -> Seat:
    """The seat of the one management complex: its own stream is 0x17, and those of its containers follow."""
    portals, queues, control, stream = RESERVED, 0x7E000000, 0x7FD00000, 0x17
    values = {
        "portals": f"{portals:x}",
        "queues": f"{queues:x}",
        "control": f"{control:x}",
        "stream": f"0x{stream:x}",
        "container": f"0x{stream + 1:x}",
    }
    return Seat((portals, queues, control), (), stream, values, (stream + 1,))


def smmu_values() -> Mapping[str, str]:
    """For the fragment ``ram-smmuv2``."""
    spis = (SMMU_GLOBAL_SPI, *SMMU_CONTEXT_SPIS)
    return {
        "reserved": f"{RESERVED:x}",
        "size": f"0x{RESERVED_END - RESERVED:x}",
        "smmu": f"{SMMU:x}",
        "interrupts": ", ".join(f"<0 {spi} {_EDGE}>" for spi in spis),
    }
