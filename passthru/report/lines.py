# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain lines for logs and pipes: one a thing that happened, the verdict last."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from passthru.check.finding import Verdict
from passthru.events import Event, Note, Progress
from passthru.run.events import CheckEnded, PhaseEnded, RunEnded, RunStarted

if TYPE_CHECKING:
    from passthru.run.outcome import Judgement, Outcome

WORDS = {Verdict.PASSED: "passed", Verdict.FAILED: "FAILED", Verdict.SKIPPED: "skipped", Verdict.ERROR: "ERROR"}


def judgement_lines(judgement: Judgement) -> list[str]:
    """A judgement as lines: verdict, check and summary; the details only where it did not pass."""
    finding = judgement.finding
    summary, *rest = finding.summary.splitlines() or [""]
    lines = [f"{WORDS[finding.verdict]:<8} {judgement.check:<14} {judgement.seconds:5.2f} s  {summary}"]
    if finding.verdict is not Verdict.PASSED:
        lines += [f"         {line}" for text in (*rest, *finding.details) for line in text.splitlines()]
    return lines


def closing_line(outcome: Outcome, seconds: float, directory: Path) -> str:
    """The verdict of a run in one line."""
    where = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
    if not outcome.judgements and not outcome.interrupted:
        return f"{outcome.scenario}: nothing judged in {seconds:.1f} s, see {where}"
    counts = [
        f"{number} {verdict.value}"
        for verdict in Verdict
        if (number := sum(judgement.finding.verdict is verdict for judgement in outcome.judgements))
    ]
    verdict = "interrupted" if outcome.interrupted else _verdict_words(outcome)
    return (
        f"{outcome.scenario}: {verdict} ({', '.join(counts) or 'nothing judged'}) in {seconds:.1f} s, see {where}"
    )


def _verdict_words(outcome: Outcome) -> str:
    match outcome.verdict():
        case Verdict.PASSED:
            return "PASSED"
        case Verdict.FAILED:
            return "FAILED"
        case _:
            return "NOT JUDGED"


class Lines:
    """Listens to events and prints them as lines; progress only at each tenth."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._directory = Path()
        self._tenths: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        match event:
            case RunStarted():
                self._directory = event.directory
                self._print(f"{event.scenario}: {event.summary}")
            case Note():
                self._print(f"note     {event.text}")
            case PhaseEnded(text=text) if text:
                self._print(f"{event.phase:<8} {text} ({event.seconds:.2f} s)")
            case Progress():
                self._progress(event)
            case CheckEnded():
                for line in judgement_lines(event.judgement):
                    self._print(line)
            case RunEnded():
                self._print(closing_line(event.outcome, event.seconds, self._directory))
            case _:
                pass

    def _progress(self, event: Progress) -> None:
        if event.finished:
            self._tenths.pop(event.work, None)
            self._print(f"done     {event.work}")
            return
        tenth = int(10 * event.done / event.total) if event.total else 0
        if self._tenths.get(event.work) != tenth:
            self._tenths[event.work] = tenth
            self._print(f"{f'{tenth * 10} %':<8} {event.work}")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
