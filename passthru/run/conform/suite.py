# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite for the check ``conform``: on a device that a run without a guest has prepared; see ``check.suite``."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.check.suite import Report, SuiteTest
from passthru.errors import DeadlineExceeded, Unusable
from passthru.events import Note, Progress
from passthru.own_code import split_reference
from passthru.run.conform.go import TEST_LIMITS, Go, SuiteOptions, unguarded
from passthru.run.conform.judging import Served, judge_device
from passthru.run.conform.target import target_of
from passthru.run.conform.verdicts import Verdicts
from passthru.run.events import SuiteStarted
from passthru.run.outside import drained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.check.suite import Wanted
    from passthru.deadline import Deadline
    from passthru.events import Event, Tell
    from passthru.host import Host
    from passthru.run.conform.complaints import Complaints
    from passthru.run.directory import RunDirectory
    from passthru.run.hosts import HostUp
    from passthru.run.outcome import Judgement
    from passthru.scenario.models import Scenario

_LEFT = 0.9
"""The share of a check's time that the suite has; the rest is for the check to say how far it came."""


class HostSuite:
    """The suite on a host that is up, whose devices are prepared."""

    def __init__(
        self, scenario: Scenario, up: HostUp, directory: RunDirectory, tell: Tell, complaints: Complaints
    ) -> None:
        self._scenario = scenario
        self._up = up
        self._directory = directory
        self._tell = tell
        self._complaints = complaints
        self._times: Counter[str] = Counter()

    async def judge(self, device: str, wanted: Wanted, deadline: Deadline) -> Report:
        """Judge a device of the scenario; see ``check.suite.Suite``."""
        self._times[device] += 1
        name = f"conform-{device}" if self._times[device] == 1 else f"conform-{device}.{self._times[device]}"
        rig = self._up.rig
        go = Go(
            host=self._up.host,
            name=name,
            target=target_of(device, self._scenario.device[device], self._up.prepared),
            options=SuiteOptions(
                wanted.only, wanted.dangerous, _on(self._up.host, wanted.stub), wanted.test_limit / TEST_LIMITS
            ),
            output=self._directory.output(name),
            scale=deadline.scale,
            guard=rig.troubles.guard if rig else unguarded,
        )

        @asynccontextmanager
        async def serve(number: int) -> AsyncIterator[Served]:
            yield Served(go)

        heard = _Heard(device, self._tell)
        verdicts = Verdicts(device, "", heard.add, heard.tell, self._complaints)
        limit = deadline.narrowed(deadline.remaining / deadline.scale * _LEFT)
        broken_off = ""
        try:
            async with limit.waiting_for(f"the end of the conformance suite on {device}"), drained(self._up.lines):
                await judge_device(serve, verdicts, self._complaints, self._scenario.subject)
        except Unusable as error:
            if not heard.tests:
                raise
            broken_off = str(error)
        except DeadlineExceeded as error:
            rest = verdicts.unjudged if verdicts.rest else "it did not begin"
            where = f", in {verdicts.running}" if verdicts.running else ""
            broken_off = f"{rest}: {error}{where}; the check's timeout and the scenario's deadline limit it"
        finally:
            heard.end()
        return Report(verdicts.title, tuple(heard.tests), verdicts.facts, broken_off)


class _Heard:
    """What the suite tells, on its way: progress for who looks on, and the tests as they are judged."""

    def __init__(self, device: str, tell: Tell) -> None:
        self.tests: list[SuiteTest] = []
        self._work = f"the conformance suite on {device}"
        self._total: int | None = None
        self._tell = tell

    def tell(self, event: Event) -> None:
        """Of the suite's own events only its length is told on: its tests are no checks of the scenario."""
        match event:
            case SuiteStarted():
                self._total = len(event.tests)
                self._progress()
            case Note():
                self._tell(event)

    def add(self, judgement: Judgement) -> None:
        """Take a test that was judged."""
        self.tests.append(SuiteTest(judgement.check, judgement.use, judgement.finding, judgement.seconds))
        self._progress()

    def end(self) -> None:
        """Tell that it goes on no more."""
        if self._total is not None:
            self._progress(finished=True)

    def _progress(self, *, finished: bool = False) -> None:
        self._tell(Progress(self._work, len(self.tests), self._total, "tests", finished=finished))


def _on(host: Host, stub: str) -> str:
    """A stub of the user's as the host has it."""
    named = split_reference(stub) if stub else None
    if named is None:
        return ""
    file, name = named
    there = host.path_of(Path(file))
    return f"{there}:{name}" if name else there
