# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers under attack, and the report of what was done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.emulation.hostile.server import Server, started
from tests.unit.emulation.hostile.tally import TALLY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the device that can do everything."""
    with started() as server:
        yield server


@pytest.fixture
def lone_server() -> Iterator[Server]:
    """A server that the test ends itself."""
    with started(ended_by_test=True) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts: a log must show that something was done."""
    if TALLY.conversations:
        terminalreporter.section("hostile vfio-user clients")
        for line in TALLY.lines():
            terminalreporter.write_line(line)
