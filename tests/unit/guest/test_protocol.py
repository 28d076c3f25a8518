# SPDX-License-Identifier: GPL-2.0-or-later
"""A script survives its way through a line of printable ASCII and the shell's printf."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.guest.protocol import pieces

SCRIPTS = st.binary(max_size=300).map(lambda data: data.replace(b"\0", b""))


@given(SCRIPTS, st.integers(20, 60))
def test_pieces_are_short_printable_and_keep_their_ends(script: bytes, size: int) -> None:
    for piece in pieces(script, size):
        assert 0 < len(piece) <= size
        assert piece.isascii()
        assert piece.isprintable()
        assert piece.strip(" ") == piece


@pytest.mark.parametrize("size", [24, 100, 100_000])
def test_printf_gives_the_script_back(size: int) -> None:
    script = bytes(range(1, 256)) * 3 + b"  two spaces \\0101 %s\n  "
    made = b"".join(
        subprocess.run(["sh", "-c", 'printf "%b" "$1"', "sh", piece], check=True, capture_output=True).stdout
        for piece in pieces(script, size)
    )
    assert made == script
