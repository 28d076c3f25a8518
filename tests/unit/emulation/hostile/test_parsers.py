# SPDX-License-Identifier: GPL-2.0-or-later
"""What reads a peer's bytes without answering them: versions, capabilities, traces."""

from __future__ import annotations

import contextlib
import errno
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.vfio import info_capabilities, trace
from passthru.vfio import user_messages as user
from passthru.vfio.info_capabilities import REGION, parse_capabilities
from passthru.vfio.linux_vfio import INFO_CAP_HEADER, REGION_INFO, SPARSE_MMAP
from passthru.vfio.malformed import Malformed
from passthru.vfio.trace_lines import describe, read_trace
from passthru.vfio.user_version import parse_version
from tests.unit.emulation.hostile.budget import fuzzing

if TYPE_CHECKING:
    from pathlib import Path

json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["capabilities", "max_msg_fds", "max_data_xfer_size", "twin_socket"]),
                st.text(max_size=4),
            ),
            inner,
            max_size=4,
        ),
    ),
)


@fuzzing()
@given(st.one_of(st.binary(max_size=200), json_like.map(lambda value: repr(value).replace("'", '"').encode() + b"\0")))
def test_a_version_is_understood_or_einval(text: bytes) -> None:
    try:
        _, _, capabilities = parse_version(user.VERSION.pack(0, 0) + text)
    except OSError as error:
        assert error.errno == errno.EINVAL
    else:
        assert capabilities.max_data_xfer_size >= 1


@pytest.mark.parametrize("depth", range(880, 1000, 3))
def test_a_version_of_json_that_is_just_not_too_deep_is_einval(depth: int) -> None:
    """The sentence about it quoted it, and that was too deep."""
    text = b'{"capabilities":{"max_msg_fds":' + b"[" * depth + b"]" * depth + b"}}\0"
    with pytest.raises(OSError, match=r"version data|max_msg_fds") as raised:
        parse_version(user.VERSION.pack(0, 0) + text)
    assert raised.value.errno == errno.EINVAL


@fuzzing()
@given(st.binary(max_size=200), st.integers(0, 220))
def test_capabilities_are_understood_or_malformed(chain: bytes, start: int) -> None:
    with contextlib.suppress(Malformed):
        parse_capabilities(REGION, bytes(REGION_INFO.size) + chain, start)


def test_a_chain_of_capabilities_without_end_is_malformed() -> None:
    """Each claimed all that comes after it, so the time went with the square of the length."""
    step = 24
    number = 20_000
    info = bytearray(REGION_INFO.size + number * step)
    for index in range(number):
        at = REGION_INFO.size + index * step
        INFO_CAP_HEADER.pack_into(info, at, 1, 1, at + step if index + 1 < number else 0)
        SPARSE_MMAP.pack_into(info, at + INFO_CAP_HEADER.size, (len(info) - at) // 16 - 1, 0)
    with pytest.raises(Malformed, match="capability"):
        parse_capabilities(REGION, bytes(info), REGION_INFO.size)
    assert number > info_capabilities.MOST_CAPABILITIES


messages = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda command, flags, error, payload: user.HEADER.pack(1, command, 16 + len(payload), flags, error) + payload,
        st.integers(0, 20),
        st.integers(0, 63),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=80),
    ),
)


@fuzzing()
@given(messages)
def test_any_message_can_be_described_in_one_printable_line(message: bytes) -> None:
    assert describe(message).isprintable()


def test_text_of_a_peer_does_not_move_the_readers_cursor() -> None:
    """A trace showed the client's JSON as it came, with its escape sequences."""
    message = user.command(1, user.VFIO_USER_VERSION, user.VERSION.pack(0, 0) + b'{"\x1b[2J\r\n":1}\0')
    assert describe(message) == 'VERSION id=1 0.0 {"\\x1b[2J\\r\\n":1}'


@fuzzing()
@given(st.lists(st.tuples(st.integers(0, 255), messages), max_size=5), st.binary(max_size=30))
def test_any_trace_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, bytes]], end: bytes
) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace"
    data = trace.FILE_HEADER.pack(trace.MAGIC, trace.FORMAT, 0, 0)
    for kind, message in records:
        data += trace.RECORD.pack(0, kind, 1, len(message)) + message
    path.write_bytes(data + end)
    lines = list(read_trace(path))
    assert len(lines) >= len(records)
    assert all(line.isprintable() for line in lines)


def test_a_trace_whose_record_promises_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(
        trace.FILE_HEADER.pack(trace.MAGIC, trace.FORMAT, 0, 0) + trace.RECORD.pack(0, 0, 0, 0xFFFFFFFF) + b"x" * 100
    )
    assert list(read_trace(path)) == ["(the trace was cut off here)"]
    assert struct.calcsize(trace.RECORD.format) == trace.RECORD.size
