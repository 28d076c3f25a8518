# SPDX-License-Identifier: GPL-2.0-or-later
"""From the lines of the suite's report to judgements, a test a judgement."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from passthru.check.finding import Finding, Verdict
from passthru.run.events import CheckStarted, SuiteStarted
from passthru.run.outcome import Judgement

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.events import Tell
    from passthru.run.conform.complaints import Complaints

    Line = dict[str, Any]

KEPT = ("topic", "demand", "cites")
"""What of a test is kept among the facts of its finding."""

_SHOWN = 25
"""Lines of a kernel's complaint that are told; all of them are in the recording of its console."""


class Verdicts:
    """Of one device, whose id is ``device``; each judgement goes to ``add``.

    ``prefix`` stands before the names of its tests: nothing where it is the only device.
    """

    def __init__(
        self, device: str, prefix: str, add: Callable[[Judgement], None], tell: Tell, complaints: Complaints
    ) -> None:
        self.running = ""
        """The test that has begun and not ended."""
        self.last = ""
        """The test that was judged last."""
        self.title = ""
        self.facts: dict[str, Any] = {}
        self._device = device
        self._prefix = prefix
        self._add = add
        self._tell = tell
        self._complaints = complaints
        self._planned: dict[str, Line] = {}
        self._judged: set[str] = set()
        self._held: Line | None = None
        self._began = 0.0

    @property
    def rest(self) -> list[str]:
        """The tests that are not judged yet, in their order."""
        return [name for name in self._planned if name not in self._judged]

    @property
    def unjudged(self) -> str:
        """How many tests could not be judged, as the beginning of a sentence."""
        of = f" of {self._device}" if self._prefix else ""
        return f"{len(self.rest)} {'test' if len(self.rest) == 1 else 'tests'}{of} could not be judged"

    async def take(self, line: Line) -> None:
        """Listen to one line of the report."""
        if line["event"] != "gone":
            await self.release()
        match line["event"]:
            case "target" if not self.title:
                self.title, self.facts = line["title"], line["facts"]
            case "tests" if not self._planned:
                self._planned = {test["name"]: test for test in line["tests"]}
                names = tuple(self._id(name) for name in self._planned)
                self._tell(SuiteStarted(self._device, self.title, names, self.facts))
            case "started":
                self.running, self._began = line["test"], time.monotonic()
                self._tell(CheckStarted(self._id(self.running)))
            case "ended":
                self.running = ""
                # Why a server ended in a test is known only after the test has failed by it.
                self._held = line
                if line["verdict"] != "failed":
                    await self.release()

    async def release(self, death: str = "") -> None:
        """Judge the test whose end was told last, if that has waited; ``death`` is what happened in it beside."""
        line, self._held = self._held, None
        if line is None:
            return
        summary, details = line["summary"], tuple(line.get("details", ()))
        if line["verdict"] == "passed" and not summary:
            summary = self._planned.get(line["test"], {}).get("demand", "")
        if details and details[0] == summary:
            details = details[1:]
        if death:
            summary = f"{death}, in this test: {summary}"
        finding = Finding(Verdict(line["verdict"]), summary, details)
        await self._judge(line["test"], finding, line["seconds"])

    async def conclude(self, finding: Finding) -> None:
        """Judge the test that was running when something broke off."""
        await self._judge(self.running, finding, time.monotonic() - self._began)

    async def _judge(self, test: str, finding: Finding, seconds: float) -> None:
        for splat in await self._complaints.taken():
            said = f"the host's kernel complained in this test: {splat.title}"
            own = () if finding.verdict is Verdict.PASSED else (finding.summary,)
            shown = (f"| {line}" for line in splat.lines[:_SHOWN])
            finding = Finding(Verdict.FAILED, said, (*own, *finding.details, "the kernel's words:", *shown))
        planned = self._planned.get(test, {})
        facts = {key: planned.get(key, "") for key in KEPT}
        finding = Finding(finding.verdict, finding.summary, finding.details, facts)
        self._judged.add(test)
        self.last, self.running = test, ""
        self._add(Judgement(self._id(test), str(facts["topic"]), finding, seconds))

    def _id(self, test: str) -> str:
        return f"{self._prefix}{test}"
