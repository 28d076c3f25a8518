# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of a test program: by its status, by its TAP, and never passed for what it did not say."""

from __future__ import annotations

import pytest

from passthru.check.finding import Finding, Verdict
from passthru.check.program_verdict import Format, judged_by
from tests.unit.check.test_tap import KUNIT, RUNNER

GOOD = "TAP version 13\n1..2\nok 1 a\nok 2 b\n"


def found(output: str, status: int = 0, form: Format = "auto") -> Finding:
    return judged_by(form, "probe", output, status, (4,))


@pytest.mark.parametrize(
    ("form", "output", "status", "verdict"),
    [
        ("exit", "", 0, Verdict.PASSED),
        ("exit", "not ok 1\n", 0, Verdict.PASSED),
        ("exit", "", 1, Verdict.FAILED),
        ("exit", "", -11, Verdict.FAILED),
        ("exit", "no card\n", 4, Verdict.SKIPPED),
        ("auto", "done\n", 0, Verdict.PASSED),
        ("auto", "done\n", 1, Verdict.FAILED),
        ("auto", "", 4, Verdict.SKIPPED),
        ("auto", GOOD, 0, Verdict.PASSED),
        ("auto", GOOD, 1, Verdict.FAILED),
        ("auto", GOOD, -6, Verdict.FAILED),
        ("auto", GOOD, 4, Verdict.FAILED),
        ("auto", "TAP version 13\n", 0, Verdict.FAILED),
        ("tap", "", 0, Verdict.FAILED),
        ("ktap", "", 0, Verdict.FAILED),
        ("tap", "", 4, Verdict.FAILED),
        ("tap", "all is well\n", 0, Verdict.FAILED),
        ("tap", "ok 1 a\n", 0, Verdict.FAILED),
        ("tap", "1..1\nok 1 a\n", 0, Verdict.PASSED),
        ("ktap", "1..1\nok 1 a\n", 0, Verdict.FAILED),
        ("ktap", GOOD, 0, Verdict.PASSED),
        ("tap", "1..2\nok 1 a\n", 0, Verdict.FAILED),
        ("tap", "1..2\nok 1 a\n", 4, Verdict.FAILED),
        ("tap", "1..0 # SKIP no card\n", 0, Verdict.SKIPPED),
        ("tap", "1..0 # SKIP no card\n", 4, Verdict.SKIPPED),
        ("tap", "1..0\nok 1\n", 0, Verdict.FAILED),
        ("tap", "1..0\n", 1, Verdict.FAILED),
        ("tap", "TAP version 13\n1..3\nok 1 # SKIP no card\n", 4, Verdict.SKIPPED),
        ("tap", "TAP version 13\n1..3\nok 1 # SKIP no card\n", 0, Verdict.FAILED),
        ("tap", "1..2\nok 1 a # SKIP\nok 2 b # SKIP\n", 0, Verdict.SKIPPED),
        ("tap", "1..2\nok 1 a # SKIP\nok 2 b\n", 0, Verdict.PASSED),
        ("tap", "1..2\nok 1 a # SKIP\nok 2 b # SKIP\n", 1, Verdict.FAILED),
        ("tap", "1..2\nok 1 a\nnot ok 2 b # TODO later\n", 0, Verdict.PASSED),
        ("tap", "1..2\nok 1 a\nnot ok 2 b # XFAIL\n", 0, Verdict.PASSED),
        ("tap", "1..2\nok 1 a\nnot ok 2 b # TIMEOUT 45 seconds\n", 0, Verdict.FAILED),
        ("tap", "1..1\nok 1 a\nBail out! gone\n", 0, Verdict.FAILED),
        ("tap", "Bail out! gone\n", 0, Verdict.FAILED),
        ("tap", "1..1\n    1..1\n    not ok 1 - in\nok 1 - out\n", 0, Verdict.FAILED),
        ("auto", KUNIT, 0, Verdict.FAILED),
        ("auto", RUNNER, 0, Verdict.FAILED),
    ],
)
def test_the_verdict(form: Format, output: str, status: int, verdict: Verdict) -> None:
    finding = found(output, status, form)
    assert finding.verdict is verdict, finding


def test_the_failing_subtests_are_named_with_what_they_said() -> None:
    finding = found(KUNIT)
    assert finding.summary == "probe on the host: main_suite / deep / second is not ok"
    assert "skipped: main_suite / flat (no hardware)" in finding.details
    finding = found(RUNNER, 1)
    name = "selftests: vfio: vfio_dma_mapping_test / global.map"
    assert finding.summary == f"probe on the host: {name} is not ok"
    assert f"{name}: vfio_dma_mapping_test.c:12:map:Expected 0 (0) == ret (-22)" in finding.details
    assert finding.facts["tests"] == {"passed": 1, "failed": 1, "skipped": 0, "failed as expected": 0}


def test_each_sentence_says_why() -> None:
    assert found("x\ny\n", 3).details == ("it ended with status 3", "it said last: x", "it said last: y")
    assert found(GOOD, 1).details[0] == "it ended with status 1, though none of its tests failed"
    assert found("1..2\nok 1\nAborted\n", 1).details == (
        "of 2 planned tests 1 have no result: test 2",
        "it ended with status 1",
        "it said last: 1..2",
        "it said last: ok 1",
        "it said last: Aborted",
    )
    assert found("1..2\nok 1\n", -11).details[0] == "it was killed by signal 11"
    assert found("", form="tap").summary == "probe on the host: it printed no TAP result and no plan"
    assert found("1..0 # SKIP no card\n").summary.endswith("it skipped all of its tests (no card)")
    assert found("no card\n", 4).summary.endswith("it ended with status 4 and said last: no card")
    assert found(GOOD).summary == "probe on the host: 2 tests of 2 passed"
