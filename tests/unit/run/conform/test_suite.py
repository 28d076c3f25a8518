# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as the check ``conform`` has it: its report, its progress, and what breaks it off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from passthru.check.finding import Verdict
from passthru.check.suite import Wanted
from passthru.deadline import Deadline
from passthru.errors import UserMistake
from passthru.events import Event, Progress
from passthru.run.conform.complaints import Complaints
from passthru.run.conform.suite import HostSuite
from passthru.run.directory import RunDirectory
from passthru.scenario.loading import of_tree
from tests.unit.run.conform.conftest import HostWithSuite

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.check.suite import Report
    from passthru.run.hosts import HostUp
    from tests.unit.run.conform.conftest import Bench

SECONDS = 20.0
SCENARIO = of_tree({"name": "s", "device": {"card": {"bus": "pci", "host": "0000:00:05.0"}}}, "test")
PREPARED = SimpleNamespace(address="0000:00:05.0", group="1", cdev=None)


class Judged:
    """A suite on the host of ``bench``, which follows plans."""

    def __init__(self, bench: Bench, directory: Path, *plans: dict[str, Any]) -> None:
        self.told: list[Event] = []
        self.host = HostWithSuite(bench.host, list(plans))
        up = SimpleNamespace(host=self.host, rig=None, prepared={"card": PREPARED}, lines={})
        self.suite = HostSuite(SCENARIO, cast("HostUp", up), RunDirectory(directory), self.told.append, Complaints())

    async def judge(self, wanted: Wanted = Wanted(), seconds: float = SECONDS) -> Report:  # noqa: B008 (frozen)
        return await self.suite.judge("card", wanted, Deadline.after(seconds))


async def test_it_reports_each_test_and_tells_only_of_progress(bench: Bench, tmp_path: Path) -> None:
    judged = Judged(bench, tmp_path, {"tests": {"a": "passed", "b": "failed", "c": "skipped"}})
    report = await judged.judge(Wanted(("a", "b", "c"), dangerous=True, test_limit=24.0))
    assert [(test.name, test.topic, test.finding.verdict) for test in report.tests] == [
        ("a", "info", Verdict.PASSED),
        ("b", "info", Verdict.FAILED),
        ("c", "info", Verdict.SKIPPED),
    ]
    assert (report.title, report.broken_off) == ("a device by a way", "")
    (words,) = judged.host.arguments
    said = " ".join(words)
    assert "--only c --dangerous --paced --time-limit 2 --test-limit 24" in said
    assert '"group": "/dev/vfio/1"' in said
    progress = [event for event in judged.told if isinstance(event, Progress)]
    assert len(progress) == len(judged.told)
    assert [event.done for event in progress] == [0, 1, 2, 3, 3]
    assert (progress[-1].total, progress[-1].finished) == (3, True)


async def test_a_device_is_judged_twice(bench: Bench, tmp_path: Path) -> None:
    judged = Judged(bench, tmp_path, {"tests": {"a": "passed"}})
    assert len((await judged.judge()).tests) == 1
    assert len((await judged.judge()).tests) == 1
    assert {path.name for path in tmp_path.glob("conform*.log")} == {"conform-card.log", "conform-card.2.log"}


async def test_what_takes_too_long_keeps_what_was_judged(bench: Bench, tmp_path: Path) -> None:
    judged = Judged(bench, tmp_path, {"tests": {"a": "passed", "b": "hangs"}})
    report = await judged.judge(seconds=4.0)
    assert [test.name for test in report.tests] == ["a"]
    assert report.broken_off.startswith("1 test could not be judged: waited ")
    assert ", in b; the check's timeout and the scenario's deadline limit it" in report.broken_off


async def test_a_suite_that_cannot_begin_is_a_mistake(bench: Bench, tmp_path: Path) -> None:
    judged = Judged(bench, tmp_path, {"status": 2, "says": "no such test"})
    with pytest.raises(UserMistake, match="no such test"):
        await judged.judge()
