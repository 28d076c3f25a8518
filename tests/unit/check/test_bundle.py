# SPDX-License-Identifier: GPL-2.0-or-later
"""Many files in one output, made by a real shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from passthru.check import bundle
from passthru.errors import PassthruError

SCRIPT = "pwd >.where; pwd >where; printf 'a\\n\\nb\\000\\377' >binary; : >empty; echo 'x y' >'two words'\n"


def test_files_come_back_whole_and_their_directory_is_gone() -> None:
    ended = subprocess.run(["sh", "-c", bundle.BEGIN + SCRIPT + bundle.END], capture_output=True, check=True)
    files = bundle.parse(ended.stdout)
    assert files.keys() == {"where", "binary", "empty", "two words"}
    assert files["binary"] == b"a\n\nb\x00\xff"
    assert files["empty"] == b""
    assert not Path(files["where"].decode().strip()).exists()


@pytest.mark.parametrize(
    "output", [b"", b"\n\n", b"3 a\n", b"3 a\n\nab", b"3 a\n\nabcd", b"x a\n\nabc", b"3\n\nabc", b"\xff a\n\nabc"]
)
def test_an_output_that_is_cut_off_or_foreign_is_refused(output: bytes) -> None:
    with pytest.raises(PassthruError, match="something else than its files"):
        bundle.parse(output)
