# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames and kernel messages on one line are told apart, wherever they meet and however they arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from passthru.guest.line_split import LineSplitter

MESSAGE = b"[   12.345678] a message: [ not ] a stamp\r\n"


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    frames: list[bytes] = []
    plain = bytearray()
    splitter = LineSplitter(frames.append, plain.extend)
    for chunk in chunks:
        splitter.feed(chunk)
    return frames, bytes(plain)


def test_without_frames_all_is_plain() -> None:
    assert split([b"login: ", b"\xff\n[ 1.0] x\n"]) == ([], b"login: \xff\n[ 1.0] x\n")


@given(
    st.lists(st.from_regex(rb"[0-9a-f]{4} [A-Za-z0-9+/= ]{0,40}", fullmatch=True), min_size=1, max_size=4),
    st.lists(st.integers(0, 200), max_size=6),
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
)
def test_messages_inside_frames_are_cut_out(frames: list[bytes], places: list[int], sizes: list[int]) -> None:
    line = b"".join(b"\x02%s\x03\n" % frame for frame in frames)
    for place in sorted((place % len(line) for place in places), reverse=True):
        line = line[:place] + MESSAGE + line[place:]
    chunks: list[bytes] = []
    position = 0
    while position < len(line):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(line[position : position + size])
        position += size
    got, plain = split(chunks)
    assert got == frames
    assert plain.replace(b"\n", b"") == (MESSAGE * len(places)).replace(b"\n", b"")


def test_a_frame_whose_end_is_lost_is_given_up_for_the_next() -> None:
    assert split([b"\x02half a fra", b"\x02whole\x03\nrest"]) == ([b"whole"], b"rest")
