# SPDX-License-Identifier: GPL-2.0-or-later
"""A project of a user's in a directory of its own, whose tests pytest runs in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.image.store import Store
from tests.e2e.harness import MARK, Command
from tests.e2e.pytest_plugin.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def cache() -> Path:
    """The cache of whoever runs the tests; pytester moves $HOME away."""
    return Store().root


@pytest.fixture
def project(cache: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project; nothing of it may be left running when the test has ended."""
    command = Command(pytester.path / "runs")
    monkeypatch.setenv("PASSTHRU_CACHE", str(cache))
    monkeypatch.setenv(MARK, command.mark)
    monkeypatch.delenv("PASSTHRU_RUNS", raising=False)
    pytester.makeini(
        """
        [pytest]
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = function
        filterwarnings = error
        """
    )
    yield Project(pytester)
    assert command.left_running() == []
