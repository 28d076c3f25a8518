# SPDX-License-Identifier: GPL-2.0-or-later
"""Capability chains: to the byte, there and back, and malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.vfio.linux_vfio import INFO_CAP_HEADER, REGION_INFO
from passthru.vfio.region_capabilities import (
    Capability,
    RegionType,
    SparseMmap,
    pack_capabilities,
    parse_capabilities,
)

u64 = st.integers(0, (1 << 64) - 1)
u32 = st.integers(0, (1 << 32) - 1)
capabilities = st.one_of(
    st.builds(SparseMmap, st.lists(st.tuples(u64, u64), max_size=4).map(tuple)), st.builds(RegionType, u32, u32)
)


def test_one_sparse_area_makes_64_bytes_of_region_info() -> None:
    chain = pack_capabilities((SparseMmap(((0x1000, 0x2000),)),))
    assert REGION_INFO.size + len(chain) == 64
    assert chain == bytes.fromhex("0100 0100 00000000 01000000 00000000 0010000000000000 0020000000000000")


def test_no_capabilities_are_no_bytes() -> None:
    assert pack_capabilities(()) == b""
    assert parse_capabilities(bytes(32), 0) == ()


@given(st.lists(capabilities, max_size=5).map(tuple))
def test_there_and_back(chain: tuple[Capability, ...]) -> None:
    packed = pack_capabilities(chain)
    assert parse_capabilities(bytes(REGION_INFO.size) + packed, REGION_INFO.size if packed else 0) == chain


def test_unknown_capabilities_are_passed_over() -> None:
    unknown = INFO_CAP_HEADER.pack(77, 1, 40) + INFO_CAP_HEADER.pack(2, 1, 0) + bytes(8)
    assert parse_capabilities(bytes(32) + unknown, 32) == (RegionType(0, 0),)


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
    with pytest.raises(OSError, match="capability"):
        parse_capabilities(bytes(32) + chain, offset)


@given(st.binary(max_size=120), st.integers(0, 200))
def test_no_chain_hangs_or_breaks_the_parser(chain: bytes, offset: int) -> None:
    try:
        found = parse_capabilities(bytes(32) + chain, offset)
    except OSError:
        return
    assert len(found) <= len(chain) // INFO_CAP_HEADER.size
