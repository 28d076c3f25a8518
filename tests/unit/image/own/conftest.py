# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the own kernel share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from passthru.image.own import recipe
from passthru.resources import directory
from tests.unit.image.own.made_source import Debian

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A description of a kernel with two options."""
    made = tmp_path / "recipe"
    made.mkdir()
    shutil.copy(directory("images") / "kernel/amd64.toml", made)
    (made / "amd64.config").write_text("CONFIG_PCI=y\nCONFIG_VFIO=m\n")
    return made


@pytest.fixture
def debian(home: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    """In place of the real one."""
    made = Debian()
    monkeypatch.setattr("passthru.image.own.provide.packages_root", made.packages_root)
    monkeypatch.setattr("passthru.image.own.build.lay_out", made.lay_out)
    monkeypatch.setattr("passthru.image.own.provide.load", lambda arch: recipe.load(arch, home))
    monkeypatch.setattr("passthru.image.own.provide.machine_arch", lambda: "amd64")
    return made
