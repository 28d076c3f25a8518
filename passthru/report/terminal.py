# SPDX-License-Identifier: GPL-2.0-or-later
"""The live view on a terminal: what is going on below, what has been judged above."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from passthru.check.finding import Verdict
from passthru.events import Event, Note
from passthru.events import Progress as Work
from passthru.report.words import WIDTH, closing_line, judgement_lines, label_of, tests_of, width_of
from passthru.run.events import (
    CheckEnded,
    CheckStarted,
    HandoverEnded,
    HandoverStarted,
    OfRun,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    SuiteStarted,
)

if TYPE_CHECKING:
    from passthru.run.outcome import Judgement

STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "yellow", Verdict.ERROR: "bold magenta"}
MARKS = {Verdict.PASSED: "✔", Verdict.FAILED: "✘", Verdict.SKIPPED: "○", Verdict.ERROR: "!"}


class Terminal:
    """Listens to events and shows them with rich; a context, as it owns the screen's last lines.

    ``brief``: of several runs, only what did not pass and the verdicts, each line with its run.
    """

    def __init__(self, console: Console | None = None, *, brief: bool = False) -> None:
        self._console = console or Console(highlight=False)
        self._brief = brief
        self._now = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=self._console
        )
        self._works = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[amount]}"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._doing: dict[str, TaskID] = {}
        self._directories: dict[str, Path] = {}
        self._noted: set[str] = set()
        self._width = WIDTH
        self._live = Live(Group(self._now, self._works), console=self._console, transient=True, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        run = ""
        if isinstance(event, OfRun):
            run, event = event.run, event.event
        match event:
            case RunStarted():
                self._directories[run] = event.directory
                if not self._brief:
                    self._print((event.scenario, "bold"), f"  {event.summary}")
            case PhaseStarted():
                self._do(run, event.text)
            case CheckStarted():
                self._do(run, f"check {event.check}")
            case PhaseEnded(text=text) if text and not self._brief:
                self._print(("  • ", "blue"), f"{text} ", (f"{event.seconds:.2f} s", "dim"))
            case SuiteStarted() if not self._brief:
                self._width = width_of(event.tests)
                self._print(("  • ", "blue"), f"{event.title}: {tests_of(len(event.tests))}")
            case Note():
                self._note(event.text)
            case HandoverStarted():
                self._live.stop()
            case HandoverEnded():
                self._console.print()
                self._live.start()
            case Work():
                self._work(event)
            case CheckEnded():
                self._judged(run, event.judgement)
            case RunEnded():
                self._ended(run, event)
            case _:
                pass

    def _ended(self, run: str, event: RunEnded) -> None:
        if run in self._doing:
            self._now.remove_task(self._doing.pop(run))
        style = STYLES[event.outcome.verdict()] if event.outcome.judgements else "default"
        line = closing_line(event.outcome, event.seconds, self._directories.pop(run, Path()))
        self._print((line, style))

    def _do(self, run: str, text: str) -> None:
        if run in self._doing:
            self._now.remove_task(self._doing[run])
        told = f"{label_of(run)}: {text}" if self._brief else text
        self._doing[run] = self._now.add_task(escape(told), total=None)

    def _note(self, text: str) -> None:
        if not self._brief or text not in self._noted:
            self._noted.add(text)
            self._print(("  • ", "yellow"), text)

    def _work(self, event: Work) -> None:
        task = self._tasks.get(event.work)
        if event.finished:
            if task is not None:
                self._works.remove_task(self._tasks.pop(event.work))
            return
        if task is None:
            task = self._tasks[event.work] = self._works.add_task(escape(event.work), total=event.total, amount="")
        self._works.update(task, completed=event.done, total=event.total, amount=_amount(event))

    def _judged(self, run: str, judgement: Judgement) -> None:
        verdict = judgement.finding.verdict
        if self._brief and verdict is Verdict.PASSED:
            return
        first, *rest = judgement_lines(judgement, self._width)
        _, _, said = first.partition(judgement.check)
        where = f"{label_of(run)}: " if self._brief else ""
        self._print((f"  {MARKS[verdict]} {where}{judgement.check}", STYLES[verdict]), said)
        for line in rest:
            self._print(line)

    def _print(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True)


def _amount(event: Work) -> str:
    if event.unit != "bytes":
        return f"{event.done:g} of {event.total:g} {event.unit}" if event.total else ""
    done, total = event.done / 1e6, (event.total or 0) / 1e6
    return f"{done:.1f} of {total:.1f} MB" if total else f"{done:.1f} MB"
