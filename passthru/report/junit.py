# SPDX-License-Identifier: GPL-2.0-or-later
"""Outcomes as JUnit XML: a suite a run, a case a check, and properties that say what was used."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from passthru.check.finding import Finding, Verdict
from passthru.check.suite import TESTS
from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from junitparser import TestCase, TestSuite

    from passthru.run.outcome import Judgement, Outcome


def write(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write the outcomes to ``path``, whole or not at all.

    Raises Unusable where the file cannot be written.
    """
    from junitparser import JUnitXml

    document = JUnitXml("passthru")
    times: Counter[str] = Counter()
    for outcome in outcomes:
        # Suites of one name would be merged: repeats are numbered.
        times[outcome.scenario] += 1
        number = times[outcome.scenario]
        document.add_testsuite(_suite(outcome.scenario if number == 1 else f"{outcome.scenario}#{number}", outcome))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        document.write(str(aside), pretty=True)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise Unusable(f"cannot write the JUnit file {path}: {reason}; name another one with --junit FILE") from error


def _suite(name: str, outcome: Outcome) -> TestSuite:
    from junitparser import TestSuite

    suite = TestSuite(name)
    for name, value in outcome.used.items():
        suite.add_property(name, _printable(value))
    for judgement in outcome.judgements:
        suite.add_testcases([_case(outcome.scenario, part) for part in _with_parts(judgement)])
    return suite


def _with_parts(judgement: Judgement) -> Iterator[Judgement]:
    """The judgement, and that of each test where the check was a suite of them."""
    yield judgement
    tests: Any = judgement.finding.facts.get(TESTS, ()) if judgement.use == "conform" else ()
    for test in tests:
        finding = Finding(Verdict(test["verdict"]), test["summary"], tuple(test["details"]))
        yield replace(judgement, check=f"{judgement.check}/{test['name']}", finding=finding, seconds=test["seconds"])


def _case(scenario: str, judgement: Judgement) -> TestCase:
    from junitparser import Error, Failure, Skipped, TestCase

    finding = judgement.finding
    case = TestCase(judgement.check, classname=f"passthru.{scenario}", time=round(judgement.seconds, 3))
    text = _printable("\n".join((finding.summary, *finding.details)))
    match finding.verdict:
        case Verdict.FAILED | Verdict.ERROR:
            kind = Failure if finding.verdict is Verdict.FAILED else Error
            result = kind(_printable(finding.summary), type_=judgement.use)
            result.text = text
            case.result = [result]
        case Verdict.SKIPPED:
            case.result = [Skipped(_printable(finding.summary))]
        case Verdict.PASSED:
            case.system_out = text
    return case


def _printable(text: str) -> str:
    # XML 1.0 has no way to write most control characters, and a guest's output may hold any of them.
    return "".join(char if char >= " " or char in "\t\n" else f"\\x{ord(char):02x}" for char in text)
