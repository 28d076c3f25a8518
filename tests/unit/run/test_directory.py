# SPDX-License-Identifier: GPL-2.0-or-later
"""Run directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.run import directory

if TYPE_CHECKING:
    from pathlib import Path


def test_each_run_has_its_own_and_latest_is_the_last(tmp_path: Path) -> None:
    made = [directory.create(tmp_path / "runs", "mtty").path for _ in range(3)]
    assert len(set(made)) == 3
    assert (tmp_path / "runs" / "latest").resolve() == made[-1]
    assert not directory.is_run_directory(made[0])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match=r"cannot write a run directory in .*file: .* --runs DIR"):
        directory.create(tmp_path / "file", "mtty")
