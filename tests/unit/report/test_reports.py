# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports: what they say of the same events."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from rich.console import Console

from passthru.check.finding import Finding, Verdict
from passthru.errors import Unusable
from passthru.events import Note, Progress
from passthru.report import junit
from passthru.report.lines import Lines
from passthru.report.run_directory import reports_in
from passthru.report.table import table
from passthru.report.terminal import Terminal
from passthru.report.words import summary_lines
from passthru.run.directory import RunDirectory
from passthru.run.events import CheckEnded, CheckStarted, OfRun, PhaseEnded, PhaseStarted, RunEnded, RunStarted
from passthru.run.outcome import Judgement, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.events import Event

PASSED = Judgement("lspci", "lspci", Finding(Verdict.PASSED, "all well", ("a detail",)), 0.1)
FAILED = Judgement("loopback", "serial-loopback", Finding(Verdict.FAILED, "lost \x00 bytes", ("byte 3 is gone",)), 0.2)
SKIPPED = Judgement("dma", "dma", Finding(Verdict.SKIPPED, "no driver"), 0.0)
ERROR = Judgement("run", "run", Finding(Verdict.ERROR, "QEMU exited"), 0.0)
OUTCOME = Outcome("mtty", (PASSED, FAILED, SKIPPED, ERROR), {"qemu": "QEMU 11"})


def events(run: str = "20261120-101010-mtty") -> list[Event]:
    inner: list[Event] = [
        RunStarted("mtty", "a card", Path("/runs/x")),
        PhaseStarted("prepare", "finding"),
        Progress("fetching QEMU", 50, 100, "bytes"),
        Progress("fetching QEMU", 100, 100, "bytes", finished=True),
        Note("KVM is not there"),
        PhaseEnded("prepare", 0.1, "QEMU 11"),
        CheckStarted("lspci"),
        *(CheckEnded(judgement) for judgement in OUTCOME.judgements),
        RunEnded(OUTCOME, 2.5),
    ]
    return [OfRun(run, event) for event in inner]


def lines(brief: bool) -> str:
    stream = io.StringIO()
    listener = Lines(stream, brief=brief)
    for event in events():
        listener(event)
    return stream.getvalue()


def terminal(brief: bool) -> str:
    stream = io.StringIO()
    with Terminal(Console(file=stream, width=200, highlight=False), brief=brief) as listener:
        for event in events():
            listener(event)
    return stream.getvalue()


@pytest.mark.parametrize("report", [lines, terminal])
def test_a_report_says_what_a_person_needs(report: Callable[[bool], str]) -> None:
    told = report(False)
    for words in ("a card", "KVM is not there", "QEMU 11", "all well", "loopback", "byte 3 is gone", "no driver"):
        assert words in told
    assert "a detail" not in told
    assert "mtty: FAILED (1 passed, 1 failed, 1 skipped, 1 error) in 2.5 s, see /runs/x" in told


@pytest.mark.parametrize("report", [lines, terminal])
def test_of_several_runs_only_what_did_not_pass_is_told(report: Callable[[bool], str]) -> None:
    told = report(True)
    assert "all well" not in told
    assert "mtty: FAILED" in told
    assert "byte 3 is gone" in told


def test_junit_has_a_case_for_each_check(tmp_path: Path) -> None:
    junit.write(tmp_path / "deep" / "junit.xml", [OUTCOME, OUTCOME])
    first, second = ElementTree.parse(tmp_path / "deep" / "junit.xml").getroot()
    assert (first.get("tests"), first.get("failures"), first.get("errors"), first.get("skipped")) == (
        "4",
        "1",
        "1",
        "1",
    )
    assert (first.get("name"), second.get("name")) == ("mtty", "mtty#2")
    cases = {case.get("name"): [child.tag for child in case] for case in second.iter("testcase")}
    assert cases == {"lspci": ["system-out"], "loopback": ["failure"], "dma": ["skipped"], "run": ["error"]}
    failure = next(first.iter("failure"))
    assert failure.get("message") == r"lost \x00 bytes"
    assert failure.text is not None
    assert "byte 3 is gone" in failure.text


def test_junit_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="--junit FILE"):
        junit.write(tmp_path / "file" / "junit.xml", [OUTCOME])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_run_directory_gets_events_and_junit(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    with reports_in(directory) as tell:
        for event in events():
            assert isinstance(event, OfRun)
            tell(event.event)
    kinds = [json.loads(line)["kind"] for line in directory.events.read_text().splitlines()]
    assert kinds[0] == "run-started"
    assert kinds[-1] == "run-ended"
    assert directory.junit.exists()


def test_a_full_disk_is_told_at_the_end(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.events.symlink_to("/dev/full")
    with pytest.raises(Unusable, match=r"events\.jsonl: No space left"), reports_in(directory) as tell:
        tell(Note("a"))
        tell(Note("b"))


def test_a_scenario_that_does_not_always_fare_the_same_is_flaky() -> None:
    good = Outcome("mtty", (PASSED,))
    assert summary_lines([good, good]) == ["mtty  2 passed"]
    assert summary_lines([good, OUTCOME, good]) == ["mtty  2 passed, 1 failed; flaky: 1 of 3 did not pass"]


def test_table_aligns_its_columns() -> None:
    assert table(("a", "bb"), [("ccc", "d"), ("e", "")]) == "a    bb\nccc  d\ne"
