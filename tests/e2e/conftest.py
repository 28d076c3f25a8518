# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests with real VMs share."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs of a size (such as 64k) and returns where."""
    mounts: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"mounted-{len(mounts)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        mounts.append(place)
        return place

    yield mount
    for place in mounts:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def passthru(tmp_path: Path) -> Iterator[Command]:
    """The command; nothing of it may be left when the test has ended."""
    command = Command(tmp_path / "runs")
    yield command
    assert command.left_running() == []
