# SPDX-License-Identifier: GPL-2.0-or-later
"""What the check ``conform`` makes of the suite's report."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from passthru.check.conform import judged
from passthru.check.context import AssignedDevice, Context, NoGuest
from passthru.check.finding import Finding, Verdict
from passthru.check.registry import check, judge
from passthru.check.suite import TESTS, Report, SuiteTest, Wanted
from passthru.errors import MissingCapability
from passthru.report import junit
from passthru.run.outcome import Judgement, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.deadline import Deadline

PASSED = SuiteTest("a", "info", Finding(Verdict.PASSED, "a holds"), 0.1)
SKIPPED = SuiteTest("b", "dma", Finding(Verdict.SKIPPED, "no DMA can be mapped"), 0.0)
FAILED = SuiteTest("c", "irqs", Finding(Verdict.FAILED, "c came twice", ("demanded: once",)), 0.2)
ERROR = SuiteTest("d", "irqs", Finding(Verdict.ERROR, "the suite was killed"), 0.2)


def report(*tests: SuiteTest, broken_off: str = "") -> Report:
    return Report("dprc.2 by type1", tests, {"driver": "vfio-fsl-mc"}, broken_off)


def test_it_passes_with_the_counts_and_says_what_was_skipped() -> None:
    finding = judged(report(PASSED, SKIPPED))
    assert finding.verdict is Verdict.PASSED
    assert finding.summary == "the conformance suite of dprc.2 by type1: 1 passed, 1 skipped"
    assert finding.details == ("skipped: b: no DMA can be mapped",)
    assert (finding.facts["driver"], finding.facts["title"]) == ("vfio-fsl-mc", "dprc.2 by type1")


def test_it_fails_by_one_test_whose_words_are_the_details() -> None:
    finding = judged(report(PASSED, FAILED, ERROR, broken_off="3 tests could not be judged: the host was lost in c"))
    assert finding.verdict is Verdict.FAILED
    assert finding.summary == "the conformance suite of dprc.2 by type1: 1 passed, 1 failed, 1 error: c"
    assert finding.details == (
        "c: c came twice",
        "  demanded: once",
        "d: the suite was killed",
        "3 tests could not be judged: the host was lost in c",
    )
    many = judged(report(*(replace(FAILED, name=name) for name in "vwxyz")))
    assert many.summary.endswith("5 failed: v, w, x and 2 more")


def test_what_was_not_judged_to_the_end_is_not_judged() -> None:
    assert judged(report(PASSED, ERROR)).summary.endswith("1 passed, 1 error: could not judge d")
    finding = judged(report(PASSED, broken_off="4 tests could not be judged: it took too long"))
    assert finding.verdict is Verdict.ERROR
    assert finding.summary.endswith("1 passed: 4 tests could not be judged: it took too long")


def test_nothing_that_passed_is_no_success() -> None:
    finding = judged(report(SKIPPED))
    assert (finding.verdict, finding.summary) == (
        Verdict.SKIPPED,
        "the conformance suite of dprc.2 by type1: 1 skipped: no DMA can be mapped",
    )
    assert judged(report()).verdict is Verdict.SKIPPED


def test_the_suite_is_asked_what_the_scenario_asks() -> None:
    asked: list[tuple[str, Wanted]] = []

    class Suite:
        async def judge(self, device: str, wanted: Wanted, deadline: Deadline) -> Report:
            asked.append((device, wanted))
            return report(PASSED)

    words = {"use": "conform", "device": "net", "only": ("info",), "dangerous": True, "test_limit": 7.0}
    options = check("conform").Options.model_validate(words)
    context = Context(NoGuest(), AssignedDevice("net", ""), suite=Suite())
    assert asyncio.run(judge(context, options)).verdict is Verdict.PASSED
    assert asked == [("net", Wanted(("info",), dangerous=True, test_limit=7.0))]
    without = asyncio.run(judge(replace(context, suite=None), options))
    assert (without.verdict, without.facts["capability"]) == (Verdict.SKIPPED, "the conformance suite")


def test_whatever_is_asked_of_no_guest_is_missing() -> None:
    context = Context(NoGuest())
    with pytest.raises(MissingCapability, match="the scenario has no guest"):
        asyncio.run(context.run("true"))
    with pytest.raises(MissingCapability, match="the scenario has no guest"):
        _ = context.guest.kernel_log


def test_each_test_is_a_case_in_junit(tmp_path: Path) -> None:
    finding = judged(report(PASSED, SKIPPED, FAILED))
    assert len(finding.facts[TESTS]) == 3  # type: ignore[arg-type]
    outcome = Outcome("s", (Judgement("suite", "conform", finding, 1.0),))
    junit.write(tmp_path / "junit.xml", [outcome])
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    found = {case.get("name"): [child.tag for child in case] for case in cases}
    assert found == {
        "suite": ["failure"],
        "suite/a": ["system-out"],
        "suite/b": ["skipped"],
        "suite/c": ["failure"],
    }
