# SPDX-License-Identifier: GPL-2.0-or-later
"""The chains of capabilities behind what VFIO tells of devices, regions and type1 IOMMUs.

Each is a header (``struct vfio_info_cap_header``) and a body, somewhere behind the fixed structure; a number means
something else in each of the three. `DEVICE`, `REGION` and `IOMMU` say which is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct

VERSION = 1  # of every capability there is
MOST_CAPABILITIES = 64  # of one chain; there are at most five kinds


@dataclass(frozen=True)
class SparseMmap:
    """The parts of a region that can be mapped: (offset in the region, size) in bytes, page aligned."""

    areas: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RegionType:
    """What a region beyond the bus's own ones is."""

    type: int
    subtype: int


@dataclass(frozen=True)
class MsixMappable:
    """The part of a region with the MSI-X table can be mapped too."""


@dataclass(frozen=True)
class PciAtomicCompletion:
    """Which AtomicOps are completed on the way to the root: ``flags`` are VFIO_PCI_ATOMIC_COMP*."""

    flags: int


@dataclass(frozen=True)
class IovaRanges:
    """First and last address of each range that can be mapped."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class DirtyTracking:
    """The IOMMU tells which pages were written to: VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION; sizes are bytes."""

    flags: int
    page_sizes: int
    """A bit for each size that a bit of the bitmap can stand for."""
    largest_bitmap: int


@dataclass(frozen=True)
class DmaAvailable:
    """How many more mappings there can be."""

    available: int


@dataclass(frozen=True)
class UnknownCapability:
    """What this module knows nothing of; ``body`` is what lies between its header and whatever comes next."""

    id: int
    version: int
    body: bytes


RegionCapability = SparseMmap | RegionType | MsixMappable
InfoCapability = RegionCapability | PciAtomicCompletion | IovaRanges | DirtyTracking | DmaAvailable | UnknownCapability


@dataclass(frozen=True)
class Chain:
    """Which chain: what the fixed structure before it is called, its bytes, and its capabilities by number."""

    structure: str
    size: int
    parsers: dict[int, Callable[[bytes], InfoCapability]]


def pack_capabilities(capabilities: tuple[RegionCapability, ...]) -> bytes:
    """The bytes that follow REGION_INFO.size bytes of region info; empty without capabilities."""
    chain = b""
    for number, capability in enumerate(capabilities):
        if isinstance(capability, SparseMmap):
            identity = vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP
            body = vfio.SPARSE_MMAP.pack(len(capability.areas), 0)
            body += b"".join(vfio.SPARSE_MMAP_AREA.pack(offset, size) for offset, size in capability.areas)
        elif isinstance(capability, RegionType):
            identity = vfio.VFIO_REGION_INFO_CAP_TYPE
            body = vfio.REGION_TYPE.pack(capability.type, capability.subtype)
        else:
            identity, body = vfio.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, b""
        end = REGION.size + len(chain) + vfio.INFO_CAP_HEADER.size + len(body)
        chain += vfio.INFO_CAP_HEADER.pack(identity, VERSION, end if number + 1 < len(capabilities) else 0) + body
    return chain


def parse_capabilities(chain: Chain, info: bytes, cap_offset: int) -> tuple[InfoCapability, ...]:
    """The capabilities in an info structure with its chain, which begins at ``cap_offset``; 0 is no chain.

    Raises Malformed for a chain that leaves the bytes, runs in a circle or does not end.
    """
    headers: dict[int, tuple[int, int]] = {}
    while cap_offset:
        inside = chain.size <= cap_offset <= len(info) - vfio.INFO_CAP_HEADER.size
        if cap_offset in headers or len(headers) >= MOST_CAPABILITIES or not inside:
            raise Malformed(
                f"the chain of {chain.structure} has a capability at offset {cap_offset} of {len(info)} bytes"
            )
        identity, version, following = vfio.INFO_CAP_HEADER.unpack_from(info, cap_offset)
        headers[cap_offset] = identity, version
        cap_offset = following
    ends = sorted([*headers, len(info)])
    found = []
    for offset, (identity, version) in headers.items():
        body = info[offset + vfio.INFO_CAP_HEADER.size : ends[ends.index(offset) + 1]]
        parse = chain.parsers.get(identity) if version == VERSION else None
        found.append(parse(body) if parse else UnknownCapability(identity, version, body))
    return tuple(found)


def _fields(what: str, layout: Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise Malformed(f"the {what} capability is cut short: it has {len(body)} bytes of {layout.size}")
    return layout.unpack_from(body)


def _pairs(what: str, head: Struct, each: Struct, body: bytes) -> tuple[tuple[int, int], ...]:
    count = _fields(what, head, body)[0]
    end = head.size + count * each.size
    if len(body) < end:
        raise Malformed(f"the {what} capability of {count} entries is cut short: it has {len(body)} bytes of {end}")
    return tuple(each.iter_unpack(body[head.size : end]))


REGION = Chain(
    "vfio_region_info",
    vfio.REGION_INFO.size,
    {
        vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP: lambda body: SparseMmap(
            _pairs("sparse mmap", vfio.SPARSE_MMAP, vfio.SPARSE_MMAP_AREA, body)
        ),
        vfio.VFIO_REGION_INFO_CAP_TYPE: lambda body: RegionType(*_fields("region type", vfio.REGION_TYPE, body)),
        vfio.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: lambda _: MsixMappable(),
    },
)
DEVICE = Chain(
    "vfio_device_info",
    vfio.DEVICE_INFO.size + vfio.DEVICE_INFO_CAPS.size,
    {
        vfio.VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP: lambda body: PciAtomicCompletion(
            _fields("atomic completion", vfio.PCI_ATOMIC_COMP, body)[0]
        )
    },
)
IOMMU = Chain(
    "vfio_iommu_type1_info",
    iommu.IOMMU_INFO.size + iommu.IOMMU_INFO_CAPS.size,
    {
        iommu.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: lambda body: IovaRanges(
            _pairs("IOVA range", iommu.IOVA_RANGES, iommu.IOVA_RANGE, body)
        ),
        iommu.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: lambda body: DirtyTracking(
            *_fields("migration", iommu.MIGRATION, body)
        ),
        iommu.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: lambda body: DmaAvailable(
            *_fields("available mappings", iommu.DMA_AVAIL, body)
        ),
    },
)
