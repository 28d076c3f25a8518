# SPDX-License-Identifier: GPL-2.0-or-later
"""Plain lines for logs and pipes: one a thing that happened, the verdict last."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from passthru.check.finding import Verdict
from passthru.events import Event, Note, Progress
from passthru.report.words import WIDTH, closing_line, judgement_lines, label_of, tests_of, width_of
from passthru.run.events import CheckEnded, OfRun, PhaseEnded, RunEnded, RunStarted, SuiteStarted

if TYPE_CHECKING:
    from passthru.run.outcome import Judgement


class Lines:
    """Listens to events and prints them as lines; progress only at each tenth.

    ``brief``: of several runs, only what did not pass and the verdicts, each line with its run.
    """

    def __init__(self, stream: TextIO | None = None, *, brief: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._brief = brief
        self._directories: dict[str, Path] = {}
        self._tenths: dict[str, int] = {}
        self._noted: set[str] = set()
        self._width = WIDTH

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        run = ""
        if isinstance(event, OfRun):
            run, event = event.run, event.event
        match event:
            case RunStarted():
                self._directories[run] = event.directory
                self._print("" if self._brief else f"{event.scenario}: {event.summary}")
            case Note():
                self._note(event.text)
            case PhaseEnded(text=text) if text and not self._brief:
                self._print(f"{event.phase:<8} {text} ({event.seconds:.2f} s)")
            case SuiteStarted() if not self._brief:
                self._width = width_of(event.tests)
                self._print(f"suite    {event.title}: {tests_of(len(event.tests))}")
            case Progress():
                self._progress(event)
            case CheckEnded():
                self._judged(run, event.judgement)
            case RunEnded():
                line = closing_line(event.outcome, event.seconds, self._directories.pop(run, Path()))
                self._print(line)
            case _:
                pass

    def _judged(self, run: str, judgement: Judgement) -> None:
        if self._brief and judgement.finding.verdict is Verdict.PASSED:
            return
        for line in judgement_lines(judgement, self._width):
            self._print(f"{label_of(run)}: {line}" if self._brief else line)

    def _note(self, text: str) -> None:
        if not self._brief or text not in self._noted:
            self._noted.add(text)
            self._print(f"note     {text}")

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
        if line:
            try:
                print(line, file=self._stream, flush=True)
            except BrokenPipeError:
                # Reports only listen: a reader that went away (`| head -1`) changes no verdict.
                nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
