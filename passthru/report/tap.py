# SPDX-License-Identifier: GPL-2.0-or-later
"""Judgements as TAP 14 (https://testanything.org) or KTAP (Documentation/dev-tools/ktap.rst), as they come.

A device is a subtest where a run judges several. TAP tells of a failure in a YAML block after its line, KTAP in
comments before it. What breaks a run off is "Bail out!", or in KTAP a test that ended with an error.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TextIO

from passthru.check.finding import Verdict
from passthru.events import Note
from passthru.run.events import CheckEnded, OfRun, RunEnded, RunStarted, SuiteStarted

if TYPE_CHECKING:
    from passthru.events import Event
    from passthru.run.outcome import Judgement, Outcome

_VERSIONS = {False: "TAP version 14", True: "KTAP version 1"}


class Tap:
    """Listens to the events of one run; ``devices`` is how many it judges."""

    def __init__(self, devices: int, *, kernel: bool = False, stream: TextIO | None = None) -> None:
        self._ktap = kernel
        self._stream = stream or sys.stdout
        self._devices = devices
        self._number = 0
        self._device = ""
        self._done: list[bool] = []
        self._planned: tuple[str, ...] = ()
        self._begun = False

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        if isinstance(event, OfRun):
            event = event.event
        match event:
            case RunStarted():
                self._print(_VERSIONS[self._ktap])
                if self._several:
                    self._print(f"1..{self._devices}")
            case Note():
                self._comment(event.text)
            case SuiteStarted():
                self._end_device()
                self._begin_device(event)
            case CheckEnded():
                self._judged(event.judgement)
            case RunEnded():
                self._end_device()
                self._end(event.outcome)
            case _:
                pass

    @property
    def _several(self) -> bool:
        return self._devices > 1

    @property
    def _indent(self) -> str:
        """What stands before the lines of a subtest."""
        return ("  " if self._ktap else "    ") if self._device and self._several else ""

    def _begin_device(self, event: SuiteStarted) -> None:
        if not self._ktap and self._several:
            self._print(f"# Subtest: {_named(event.device, ktap=False)}")
        self._device, self._number, self._planned, self._begun = event.device, 0, event.tests, True
        self._done_in_device: list[Judgement] = []
        if self._ktap and self._several:
            self._print(_VERSIONS[True])
        self._print(f"1..{len(event.tests)}")
        self._comment(event.title)

    def _judged(self, judgement: Judgement) -> None:
        if judgement.check not in self._planned:
            return  # of the run itself: told at its end
        self._number += 1
        self._done_in_device.append(judgement)
        name = judgement.check.removeprefix(f"{self._device}/")
        self._result(self._number, name, judgement)

    def _result(self, number: int, name: str, judgement: Judgement) -> None:
        finding = judgement.finding
        ok = finding.verdict in (Verdict.PASSED, Verdict.SKIPPED)
        if self._ktap and not ok:
            self._comment(finding.summary, *finding.details)
        line = f"{'ok' if ok else 'not ok'} {number} {'' if self._ktap else '- '}{_named(name, ktap=self._ktap)}"
        first = finding.summary.partition("\n")[0]
        if finding.verdict is Verdict.SKIPPED:
            line += f" # SKIP {first}"
        elif finding.verdict is Verdict.ERROR and self._ktap:
            line += f" # ERROR {first}"
        self._print(line)
        if not self._ktap and not ok:
            self._yaml(judgement)

    def _yaml(self, judgement: Judgement) -> None:
        """A block of YAML, whose values are JSON's, which YAML has too."""
        finding = judgement.finding
        table = {
            "message": finding.summary,
            "severity": "fail" if finding.verdict is Verdict.FAILED else "error",
            "duration_ms": round(1000 * judgement.seconds, 3),
            **{key: finding.facts[key] for key in ("demand", "cites") if finding.facts.get(key)},
        }
        self._print("  ---", *(f"  {key}: {json.dumps(value)}" for key, value in table.items()))
        if finding.details:
            self._print("  details:", *(f"    - {json.dumps(line)}" for line in finding.details))
        self._print("  ...")

    def _end_device(self) -> None:
        """The result of a device, where it is a subtest."""
        if not self._device or not self._several:
            return
        device, self._device = self._device, ""
        whole = len(self._done_in_device) == len(self._planned)
        good = all(each.finding.verdict in (Verdict.PASSED, Verdict.SKIPPED) for each in self._done_in_device)
        self._done.append(whole and good)
        dash = "" if self._ktap else "- "
        self._print(f"{'ok' if whole and good else 'not ok'} {len(self._done)} {dash}{_named(device, ktap=self._ktap)}")
        self._planned = ()

    def _end(self, outcome: Outcome) -> None:
        """What befell the run itself."""
        why = [each.finding.summary for each in outcome.judgements if each.check == each.use == "run"]
        if outcome.interrupted:
            why.append("interrupted")
        if not why:
            return
        self._comment(*why)
        first = why[0].partition("\n")[0]
        if self._ktap:
            if not self._begun and not self._several:
                self._print("1..1", f"not ok 1 run # ERROR {first}")
            return
        self._print(f"Bail out! {first}")

    def _comment(self, *texts: str) -> None:
        self._print(*(f"# {line}" for text in texts for line in text.splitlines()))

    def _print(self, *lines: str) -> None:
        for line in lines:
            print(f"{self._indent}{line}", file=self._stream, flush=True)


def _named(name: str, *, ktap: bool) -> str:
    """A name without what would begin a directive."""
    return name.replace("#", "no.") if ktap else name.replace("\\", "\\\\").replace("#", "\\#")
