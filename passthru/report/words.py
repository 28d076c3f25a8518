# SPDX-License-Identifier: GPL-2.0-or-later
"""How judgements and outcomes read, wherever they are shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.check.finding import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthru.run.outcome import Judgement, Outcome

WORDS = {Verdict.PASSED: "passed", Verdict.FAILED: "FAILED", Verdict.SKIPPED: "skipped", Verdict.ERROR: "ERROR"}
RUN_WORDS = {Verdict.PASSED: "PASSED", Verdict.FAILED: "FAILED"}


WIDTH = 14
"""Columns for the ids of a scenario's checks."""


def judgement_lines(judgement: Judgement, width: int = WIDTH) -> list[str]:
    """A judgement as lines: verdict, check and summary; the details only where it did not pass.

    ``width`` is how many columns the check's id has.
    """
    finding = judgement.finding
    summary, *rest = finding.summary.splitlines() or [""]
    lines = [f"{WORDS[finding.verdict]:<8} {judgement.check:<{width}} {judgement.seconds:5.2f} s  {summary}"]
    if finding.verdict is not Verdict.PASSED:
        lines += [f"         {line}" for text in (*rest, *finding.details) for line in text.splitlines()]
    return lines


def tests_of(count: int) -> str:
    """A number of tests, in words."""
    return "1 test" if count == 1 else f"{count} tests"


def width_of(tests: Iterable[str]) -> int:
    """The columns for ids of these tests."""
    return max((WIDTH, *map(len, tests)))


def closing_line(outcome: Outcome, seconds: float, directory: Path) -> str:
    """The verdict of a run in one line."""
    where = _from_here(directory)
    return f"{outcome.scenario}: {verdict_words(outcome)} in {seconds:.1f} s, see {where}"


def _from_here(path: Path) -> Path:
    """A path as a person in the current directory would write it; as it is where that directory is gone."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):
        return path


def verdict_words(outcome: Outcome) -> str:
    """The verdict of a run and how its checks fared."""
    found = Counter(judgement.finding.verdict for judgement in outcome.judgements)
    counts = ", ".join(f"{found[verdict]} {verdict.value}" for verdict in Verdict if found[verdict])
    if outcome.interrupted:
        return f"interrupted ({counts or 'nothing judged'})"
    if not counts:
        return "nothing judged"
    return f"{RUN_WORDS.get(outcome.verdict(), 'NOT JUDGED')} ({counts})"


def label_of(run: str) -> str:
    """A run's short name: that of its directory without the time."""
    return run.split("-", 2)[-1]


def summary_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """What came of several runs: a line a scenario; one that did not always fare the same is called flaky."""
    by_scenario: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        verdict = "interrupted" if outcome.interrupted else RUN_WORDS.get(outcome.verdict(), "not judged").lower()
        by_scenario.setdefault(outcome.scenario, Counter())[verdict] += 1
    width = max(map(len, by_scenario), default=0)
    lines = []
    for scenario, counts in by_scenario.items():
        told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        flaky = len(counts.keys() - {"interrupted"}) > 1
        rate = f"; flaky: {counts.total() - counts['passed']} of {counts.total()} did not pass" if flaky else ""
        lines.append(f"{scenario:<{width}}  {told}{rate}")
    return lines
