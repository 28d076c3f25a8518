# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability chains: to the byte, there and back, and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.vfio.info_capabilities import (
    DEVICE,
    IOMMU,
    REGION,
    Chain,
    DirtyTracking,
    DmaAvailable,
    IovaRanges,
    MsixMappable,
    PciAtomicCompletion,
    RegionCapability,
    RegionType,
    SparseMmap,
    UnknownCapability,
    pack_capabilities,
    parse_capabilities,
)
from passthru.vfio.linux_vfio import INFO_CAP_HEADER, REGION_INFO
from passthru.vfio.malformed import Malformed

u64 = st.integers(0, (1 << 64) - 1)
u32 = st.integers(0, (1 << 32) - 1)
capabilities = st.one_of(
    st.builds(SparseMmap, st.lists(st.tuples(u64, u64), max_size=4).map(tuple)),
    st.builds(RegionType, u32, u32),
    st.just(MsixMappable()),
)


def test_one_sparse_area_makes_64_bytes_of_region_info() -> None:
    chain = pack_capabilities((SparseMmap(((0x1000, 0x2000),)),))
    assert REGION_INFO.size + len(chain) == 64
    assert chain == bytes.fromhex("0100 0100 00000000 01000000 00000000 0010000000000000 0020000000000000")


def test_no_capabilities_are_no_bytes() -> None:
    assert pack_capabilities(()) == b""
    assert parse_capabilities(REGION, bytes(32), 0) == ()


@given(st.lists(capabilities, max_size=5).map(tuple))
def test_there_and_back(chain: tuple[RegionCapability, ...]) -> None:
    packed = pack_capabilities(chain)
    assert parse_capabilities(REGION, bytes(REGION_INFO.size) + packed, REGION_INFO.size if packed else 0) == chain


def test_unknown_capabilities_are_told_with_their_bytes() -> None:
    unknown = INFO_CAP_HEADER.pack(77, 1, 44) + b"body" + INFO_CAP_HEADER.pack(2, 1, 0) + bytes(8)
    assert parse_capabilities(REGION, bytes(32) + unknown, 32) == (UnknownCapability(77, 1, b"body"), RegionType(0, 0))


def test_a_version_that_is_not_known_is_an_unknown_capability() -> None:
    newer = INFO_CAP_HEADER.pack(2, 2, 0) + bytes(8)
    assert parse_capabilities(REGION, bytes(32) + newer, 32) == (UnknownCapability(2, 2, bytes(8)),)


def test_a_chain_may_run_backwards() -> None:
    chain = INFO_CAP_HEADER.pack(2, 1, 0) + bytes.fromhex("0100000002000000") + INFO_CAP_HEADER.pack(3, 1, 32)
    assert parse_capabilities(REGION, bytes(32) + chain, 48) == (MsixMappable(), RegionType(1, 2))


def test_the_chain_of_a_type1_iommu() -> None:
    """What Linux 6.1 told of QEMU's Intel IOMMU by type1v2, edu in the container."""
    info = bytes.fromhex(
        "c8000000 03000000 00102040 00000000 18000000 00000000 02000100 38000000 00000000 00000000 00100000 00000000 "
        "00000010 00000000 03000100 44000000 ffff0000 01000100 00000000 02000000 00000000 00000000 00000000 ffffdffe "
        "00000000 0000f0fe 00000000 ffffffff ffff0000"
    )
    assert parse_capabilities(IOMMU, info, 0x18) == (
        DirtyTracking(0, 0x1000, 0x10000000),
        DmaAvailable(65535),
        IovaRanges(((0, 0xFEDFFFFF), (0xFEF00000, 0xFFFFFFFFFFFF))),
    )


def test_the_chain_of_a_device() -> None:
    info = bytes(24) + INFO_CAP_HEADER.pack(5, 1, 0) + bytes.fromhex("07000000 00000000")
    assert parse_capabilities(DEVICE, info, 24) == (PciAtomicCompletion(7),)


@pytest.mark.parametrize(
    ("chain", "offset"),
    [
        (b"", 32),
        (bytes(8), 31),
        (bytes(8), 33),
        (INFO_CAP_HEADER.pack(9, 1, 32), 32),
        (INFO_CAP_HEADER.pack(9, 1, 400), 32),
        (INFO_CAP_HEADER.pack(1, 1, 0) + bytes(7), 32),
        (INFO_CAP_HEADER.pack(1, 1, 0) + b"\xff" * 8, 32),
        (INFO_CAP_HEADER.pack(2, 1, 0) + bytes(7), 32),
    ],
)
def test_malformed_chains(chain: bytes, offset: int) -> None:
    with pytest.raises(Malformed, match="capability"):
        parse_capabilities(REGION, bytes(32) + chain, offset)


def test_a_body_does_not_reach_into_the_next_capability() -> None:
    chain = INFO_CAP_HEADER.pack(2, 1, 44) + bytes(4) + INFO_CAP_HEADER.pack(3, 1, 0)
    with pytest.raises(Malformed, match="region type capability is cut short"):
        parse_capabilities(REGION, bytes(32) + chain, 32)


@given(st.sampled_from([REGION, DEVICE, IOMMU]), st.binary(max_size=120), st.integers(0, 200))
def test_no_chain_hangs_or_breaks_the_parser(kind: Chain, chain: bytes, offset: int) -> None:
    try:
        found = parse_capabilities(kind, bytes(kind.size) + chain, offset)
    except Malformed:
        return
    assert len(found) <= len(chain) // INFO_CAP_HEADER.size
