# SPDX-License-Identifier: GPL-2.0-or-later
"""The live view on a terminal: what is going on below, what has been judged above."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from passthru.check.finding import Verdict
from passthru.events import Event, Note
from passthru.events import Progress as Work
from passthru.report.lines import closing_line, judgement_lines
from passthru.run.events import (
    CheckEnded,
    CheckStarted,
    HandoverEnded,
    HandoverStarted,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
)

if TYPE_CHECKING:
    from passthru.run.outcome import Judgement

STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "yellow", Verdict.ERROR: "bold magenta"}
MARKS = {Verdict.PASSED: "✔", Verdict.FAILED: "✘", Verdict.SKIPPED: "○", Verdict.ERROR: "!"}


class Terminal:
    """Listens to events and shows them with rich; a context, as it owns the screen's last lines."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._now = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._works = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[amount]}"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._doing: TaskID | None = None
        self._directory = Path()
        self._live = Live(self._view(), console=self._console, transient=True, refresh_per_second=8)

    def _view(self) -> RenderableType:
        return Group(self._now, self._works)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        match event:
            case RunStarted():
                self._directory = event.directory
                self._console.print(Text.assemble((event.scenario, "bold"), f"  {event.summary}"))
            case PhaseStarted():
                self._do(event.text)
            case CheckStarted():
                self._do(f"check {event.check}")
            case PhaseEnded(text=text) if text:
                self._console.print(Text.assemble(("  • ", "blue"), f"{text} ", (f"{event.seconds:.2f} s", "dim")))
            case Note():
                self._console.print(Text.assemble(("  • ", "yellow"), event.text))
            case HandoverStarted():
                self._live.stop()
            case HandoverEnded():
                self._console.print()
                self._live.start()
            case Work():
                self._work(event)
            case CheckEnded():
                self._judged(event.judgement)
            case RunEnded():
                style = STYLES[event.outcome.verdict()] if event.outcome.judgements else "default"
                line = closing_line(event.outcome, event.seconds, self._directory)
                self._console.print(Text(line, style=style), soft_wrap=True)
            case _:
                pass

    def _do(self, text: str) -> None:
        if self._doing is not None:
            self._now.remove_task(self._doing)
        self._doing = self._now.add_task(escape(text), total=None)

    def _work(self, event: Work) -> None:
        task = self._tasks.get(event.work)
        if event.finished:
            if task is not None:
                self._works.remove_task(self._tasks.pop(event.work))
            return
        if task is None:
            task = self._tasks[event.work] = self._works.add_task(escape(event.work), total=event.total, amount="")
        self._works.update(task, completed=event.done, total=event.total, amount=_amount(event))

    def _judged(self, judgement: Judgement) -> None:
        verdict = judgement.finding.verdict
        first, *rest = judgement_lines(judgement)
        _, _, said = first.partition(judgement.check)
        style = STYLES[verdict]
        self._console.print(Text.assemble((f"  {MARKS[verdict]} {judgement.check}", style), said), soft_wrap=True)
        for line in rest:
            self._console.print(Text(line), soft_wrap=True)


def _amount(event: Work) -> str:
    if event.unit != "bytes":
        return f"{event.done:g} of {event.total:g} {event.unit}" if event.total else ""
    done, total = event.done / 1e6, (event.total or 0) / 1e6
    return f"{done:.1f} of {total:.1f} MB" if total else f"{done:.1f} MB"
