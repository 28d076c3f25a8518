# SPDX-License-Identifier: GPL-2.0-or-later
"""Several runs: at once, repeated, shuffled; one summary, one JUnit file, nothing left when interrupted."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tests.e2e.harness import lines_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command


def test_two_at_once_repeated_make_one_summary_and_one_junit_file(passthru: Command, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    arguments = ("-j", "2", "--repeat", "2", "--shuffle", "7", "--junit", str(junit))
    ended = passthru("run", "mtty", "mtty-fixed", *arguments)
    assert ended.status == 0, ended
    assert ended.stdout.splitlines()[-2:] in (
        ["mtty        2 passed", "mtty-fixed  2 passed"],
        ["mtty-fixed  2 passed", "mtty        2 passed"],
    )
    suites = ElementTree.parse(junit).getroot()
    assert sorted(suite.get("name", "") for suite in suites) == ["mtty", "mtty#2", "mtty-fixed", "mtty-fixed#2"]
    assert len([path for path in passthru.runs.iterdir() if not path.is_symlink()]) == 4


def test_one_that_fails_among_several_is_told_with_its_bytes(passthru: Command) -> None:
    ended = passthru("run", "mtty", "mtty-fixed", "-j", "2", "--set", "check.loopback.bytes=16")
    assert ended.status == 1, ended
    assert "lost bytes 0-15" in ended.stdout
    assert "mtty        1 failed" in ended.stdout
    assert "mtty-fixed  1 passed" in ended.stdout


def test_an_interrupt_ends_all_of_them(passthru: Command) -> None:
    with passthru.start("run", "mtty", "-j", "2", "--repeat", "20") as process:
        seen = lines_until(process, "mtty: PASSED")
        process.send_signal(signal.SIGINT)
        ended = passthru.ended(process)
    assert ended.status == 130, (seen, ended)
    assert passthru.left_running() == []
