# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM and an SMMU for the tests here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.emulation.shared_ram.made_ram import MadeSmmu, make_ram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.emulation.shared_ram.ram import GuestRam


@pytest.fixture
def ram(tmp_path: Path, nothing_stays_open: None) -> Iterator[GuestRam]:
    """16 MiB at 1 GiB."""
    made = make_ram(tmp_path)
    yield made
    made.close()


@pytest.fixture
def made(ram: GuestRam) -> Iterator[MadeSmmu]:
    """An SMMU that no driver has touched."""
    smmu = MadeSmmu(ram)
    yield smmu
    smmu.smmu.release()
