# SPDX-License-Identifier: GPL-2.0-or-later
"""The chain of capabilities behind ``struct vfio_region_info``."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from passthru.vfio.linux_vfio import (
    INFO_CAP_HEADER,
    REGION_INFO,
    REGION_TYPE,
    SPARSE_MMAP,
    SPARSE_MMAP_AREA,
    VFIO_REGION_INFO_CAP_SPARSE_MMAP,
    VFIO_REGION_INFO_CAP_TYPE,
)


@dataclass(frozen=True)
class SparseMmap:
    """The parts of a region that can be mapped: (offset in the region, size) in bytes, page aligned."""

    areas: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RegionType:
    """What a region beyond the bus's own ones is."""

    type: int
    subtype: int


Capability = SparseMmap | RegionType

MOST_CAPABILITIES = 64  # of one region; there are four kinds


def pack_capabilities(capabilities: tuple[Capability, ...]) -> bytes:
    """The bytes that follow REGION_INFO.size bytes of region info; empty without capabilities."""
    chain = b""
    for number, capability in enumerate(capabilities):
        if isinstance(capability, SparseMmap):
            identity = VFIO_REGION_INFO_CAP_SPARSE_MMAP
            body = SPARSE_MMAP.pack(len(capability.areas), 0)
            body += b"".join(SPARSE_MMAP_AREA.pack(offset, size) for offset, size in capability.areas)
        else:
            identity = VFIO_REGION_INFO_CAP_TYPE
            body = REGION_TYPE.pack(capability.type, capability.subtype)
        end = REGION_INFO.size + len(chain) + INFO_CAP_HEADER.size + len(body)
        chain += INFO_CAP_HEADER.pack(identity, 1, end if number + 1 < len(capabilities) else 0) + body
    return chain


def parse_capabilities(info: bytes, cap_offset: int) -> tuple[Capability, ...]:
    """The known capabilities of a region info with its chain; raises OSError EINVAL where the chain is malformed.

    A chain that leaves the bytes, runs in a circle or does not end is malformed; unknown capabilities are passed over.
    """
    found: list[Capability] = []
    seen: set[int] = set()
    while cap_offset:
        inside = REGION_INFO.size <= cap_offset <= len(info) - INFO_CAP_HEADER.size
        if cap_offset in seen or len(seen) >= MOST_CAPABILITIES or not inside:
            raise OSError(errno.EINVAL, f"a region capability at offset {cap_offset} of {len(info)} bytes")
        seen.add(cap_offset)
        identity, _, following = INFO_CAP_HEADER.unpack_from(info, cap_offset)
        body = info[cap_offset + INFO_CAP_HEADER.size :]
        if identity == VFIO_REGION_INFO_CAP_SPARSE_MMAP:
            found.append(_parse_sparse_mmap(body))
        elif identity == VFIO_REGION_INFO_CAP_TYPE:
            if len(body) < REGION_TYPE.size:
                raise OSError(errno.EINVAL, "a region type capability is cut short")
            found.append(RegionType(*REGION_TYPE.unpack_from(body)))
        cap_offset = following
    return tuple(found)


def _parse_sparse_mmap(body: bytes) -> SparseMmap:
    if len(body) < SPARSE_MMAP.size:
        raise OSError(errno.EINVAL, "a sparse mmap capability is cut short")
    count, _ = SPARSE_MMAP.unpack_from(body)
    end = SPARSE_MMAP.size + count * SPARSE_MMAP_AREA.size
    if len(body) < end:
        raise OSError(errno.EINVAL, f"a sparse mmap capability of {count} areas is cut short")
    return SparseMmap(tuple(SPARSE_MMAP_AREA.iter_unpack(body[SPARSE_MMAP.size : end])))
