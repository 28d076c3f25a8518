# SPDX-License-Identifier: GPL-2.0-or-later
"""The VERSION payload: what QEMU says and what QEMU takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.vfio.user_messages import HEADER
from passthru.vfio.user_version import Capabilities, pack_version, parse_version

QEMU = (
    b'\0\0\0\0{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, '
    b'"max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, '
    b'"write_multiple": true}}\0'
)


def test_what_qemu_says() -> None:
    assert HEADER.size + len(QEMU) == 214
    assert parse_version(QEMU) == (0, 0, Capabilities(max_msg_fds=16, max_data_xfer_size=1 << 20))


def test_defaults_are_those_of_the_specification() -> None:
    for text in (b"", b"\0", b"{}\0", b'{"capabilities":{}}\0', b'{"capabilities":{"new":{}},"x":1}\0'):
        assert parse_version(b"\0\0\1\0" + text) == (0, 1, Capabilities(1, 1 << 20))


def test_a_client_that_takes_more_than_there_is_gets_what_there_is() -> None:
    text = b'{"capabilities":{"max_data_xfer_size":1099511627776}}\0'
    assert parse_version(bytes(4) + text)[2].max_data_xfer_size == 64 << 20


def test_there_and_back() -> None:
    payload = pack_version(1, Capabilities(8, 4096))
    assert payload.endswith(b"}}\0")
    assert parse_version(payload) == (0, 1, Capabilities(8, 4096))


def test_what_qemu_does_not_read_is_not_packed() -> None:
    with pytest.raises(ValueError, match="more than QEMU reads"):
        pack_version(0, Capabilities(8, 10**150))


@given(st.binary(max_size=60))
def test_any_payload_is_a_version_or_einval(payload: bytes) -> None:
    try:
        major, minor, capabilities = parse_version(payload)
    except OSError:
        return
    assert 0 <= major <= 0xFFFF
    assert 0 <= minor <= 0xFFFF
    assert capabilities.max_data_xfer_size > 0
