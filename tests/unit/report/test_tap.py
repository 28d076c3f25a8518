# SPDX-License-Identifier: GPL-2.0-or-later
"""TAP and KTAP, read back by the reader that judges other programs' output."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.check import tap
from passthru.check.finding import Finding, Verdict
from passthru.check.program_verdict import judged_by
from passthru.events import Note
from passthru.report.document import document
from passthru.report.tap import Tap
from passthru.run.events import CheckEnded, OfRun, RunEnded, RunStarted, SuiteStarted
from passthru.run.outcome import Judgement, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from passthru.events import Event

FACTS = {"topic": "info", "demand": 'it says "yes"', "cites": "VFIO_DEVICE_GET_INFO"}
GOOD = Judgement("good", "info", Finding(Verdict.PASSED, "well", (), FACTS), 0.1)
BAD = Judgement("bad #1", "info", Finding(Verdict.FAILED, "it: no\nreally", ("sent: 1", "not ok 7"), FACTS), 0.25)
LEFT = Judgement("left", "irqs", Finding(Verdict.SKIPPED, "no interrupt", (), FACTS), 0.0)
UNSURE = Judgement("unsure", "irqs", Finding(Verdict.ERROR, "the suite broke", (), FACTS), 0.0)
RUN = Judgement("run", "run", Finding(Verdict.ERROR, "the host was lost\nfar away"), 0.0)


def named(device: str, judgement: Judgement) -> Judgement:
    return Judgement(f"{device}/{judgement.check}", judgement.use, judgement.finding, judgement.seconds)


def one_device(*judgements: Judgement, planned: Sequence[str] = ("good", "bad #1", "left", "unsure")) -> list[Event]:
    return [
        RunStarted("conform-mtty", "a card", Path("/x")),
        Note("a fallback"),
        SuiteStarted("mtty", "a card by a socket", tuple(planned), {}),
        *map(CheckEnded, judgements),
        RunEnded(Outcome("conform-mtty", judgements), 1.0),
    ]


def told(events: Sequence[Event], form: Literal["tap", "ktap"], devices: int = 1) -> str:
    stream = io.StringIO()
    listener = Tap(devices, kernel=form == "ktap", stream=stream)
    for event in events:
        listener(OfRun("20261120-101010-conform-mtty", event))
    return stream.getvalue()


BOTH = pytest.mark.parametrize("form", ["tap", "ktap"])


@BOTH
def test_each_test_is_a_line_that_readers_understand(form: Literal["tap", "ktap"]) -> None:
    text = told(one_device(GOOD, BAD, LEFT, UNSURE), form)
    block = tap.parse(text)
    assert (block.versioned, block.plan, block.complaints()) == (True, 4, [])
    good, bad, left, unsure = block.results
    assert [result.ok for result in block.results] == [True, False, True, False]
    assert good.name == "good"
    assert (left.directive, left.reason) == ("SKIP", "no interrupt")
    assert bad.name == ("bad #1" if form == "tap" else "bad no.1")
    assert not bad.excused
    assert not unsure.excused
    finding = judged_by(form, "suite", text, 1, (4,))
    assert finding.verdict is Verdict.FAILED
    assert finding.facts["tests"] == {"passed": 1, "failed": 2, "skipped": 1, "failed as expected": 0}


def test_tap_tells_of_a_failure_in_yaml_after_it() -> None:
    lines = told(one_device(GOOD, BAD, planned=("good", "bad #1")), "tap").splitlines()
    assert lines[0] == "TAP version 14"
    at = lines.index("not ok 2 - bad \\#1")
    assert lines[at + 1 :] == [
        "  ---",
        '  message: "it: no\\nreally"',
        '  severity: "fail"',
        "  duration_ms: 250.0",
        '  demand: "it says \\"yes\\""',
        '  cites: "VFIO_DEVICE_GET_INFO"',
        "  details:",
        '    - "sent: 1"',
        '    - "not ok 7"',
        "  ...",
    ]


def test_ktap_tells_of_a_failure_in_comments_before_it() -> None:
    lines = told(one_device(BAD, UNSURE, planned=("bad #1", "unsure")), "ktap").splitlines()
    assert lines == [
        "KTAP version 1",
        "# a fallback",
        "1..2",
        "# a card by a socket",
        "# it: no",
        "# really",
        "# sent: 1",
        "# not ok 7",
        "not ok 1 bad no.1",
        "# the suite broke",
        "not ok 2 unsure # ERROR the suite broke",
    ]


@BOTH
def test_several_devices_are_subtests(form: Literal["tap", "ktap"]) -> None:
    first = SuiteStarted("one", "the first", ("one/good", "one/left"), {})
    second = SuiteStarted("two", "the second", ("two/good", "two/bad #1"), {})
    judgements = tuple(named("one", each) for each in (GOOD, LEFT)) + tuple(named("two", each) for each in (GOOD, BAD))
    events: list[Event] = [
        RunStarted("conform-both", "two cards", Path("/x")),
        first,
        *map(CheckEnded, judgements[:2]),
        second,
        *map(CheckEnded, judgements[2:]),
        RunEnded(Outcome("conform-both", judgements), 1.0),
    ]
    block = tap.parse(told(events, form, devices=2))
    assert (block.plan, block.complaints()) == (2, [])
    assert [(result.name, result.ok) for result in block.results] == [("one", True), ("two", False)]
    bad = "bad #1" if form == "tap" else "bad no.1"
    assert [path for path, _, _ in block.leaves()] == ["one / good", "one / left", "two / good", f"two / {bad}"]
    inner = [result.subtests for result in block.results]
    assert all(each is not None and each.plan == 2 for each in inner)


@BOTH
def test_a_run_that_broke_off_does_not_pass_for_a_whole_one(form: Literal["tap", "ktap"]) -> None:
    text = told(one_device(GOOD, RUN), form)
    assert "# the host was lost\n" in text
    complaints = tap.parse(text).complaints()
    assert "of 4 planned tests 3 have no result: tests 2, 3, 4" in complaints
    assert ("it bailed out: the host was lost" in complaints) is (form == "tap")


@BOTH
def test_a_run_that_never_began_is_no_pass(form: Literal["tap", "ktap"]) -> None:
    events: list[Event] = [
        RunStarted("conform-mtty", "a card", Path("/x")),
        CheckEnded(RUN),
        RunEnded(Outcome("conform-mtty", (RUN,)), 1.0),
    ]
    assert judged_by(form, "suite", told(events, form), 1, (4,)).verdict is Verdict.FAILED


def test_the_document_holds_everything() -> None:
    outcome = Outcome("conform-mtty", (GOOD, BAD, LEFT), {"device mtty": "a card"})
    found = json.loads(document(outcome))
    assert (found["run"], found["verdict"], found["exit_code"]) == ("conform-mtty", "failed", 1)
    assert found["used"] == {"device mtty": "a card"}
    good, bad, _ = found["tests"]
    assert good == {
        "name": "good",
        "topic": "info",
        "verdict": "passed",
        "seconds": 0.1,
        "summary": "well",
        "details": [],
        "demand": 'it says "yes"',
        "cites": "VFIO_DEVICE_GET_INFO",
    }
    assert bad["details"] == ["sent: 1", "not ok 7"]
    assert json.loads(document(Outcome("x", (GOOD, LEFT)), skips_count=True))["exit_code"] == 125
