# SPDX-License-Identifier: GPL-2.0-or-later
"""Many runs: all are prepared first, one after the other, and then performed, several at once where asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.events import Event, Tell, tell_nobody
from passthru.image.store import Store
from passthru.run.directory import RunDirectory, create
from passthru.run.events import OfRun
from passthru.run.handles import Handles
from passthru.run.host_plan import HostSide, demand_guest
from passthru.run.one_run import After, OneRun
from passthru.run.plan import Plan, plan_run
from passthru.run.signals import run_async

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from passthru.run.outcome import Outcome
    from passthru.run.what import Request

Reports = Callable[[RunDirectory], AbstractContextManager[Tell]]
"""Gives the listener that reports on one run into its run directory."""


@dataclass(frozen=True)
class Runner:
    """Runs requests, each into a run directory of its own below ``runs``; ``jobs`` at once."""

    runs: Path
    reports: Reports
    tell: Tell = tell_nobody
    after: After = After.CHECKS
    jobs: int = 1
    handles: Handles = field(default_factory=Handles)
    store: Store = field(default_factory=Store)

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Run all ``requests`` to their ends; an interruption is the outcome of those that had not ended.

        Raises UserMistake, Unusable where a run directory cannot be written, KeyboardInterrupt where none had begun;
        everything else that goes wrong is part of an outcome.
        """
        planner = Planner(self.store, _look_at_devices)
        slots = [_Slot(request) for request in requests]
        with contextlib.ExitStack() as stack:
            for slot in slots:
                stack.callback(slot.close)
            try:
                for slot in slots:
                    # What has to be fetched or built is, before the first guest boots; the rest is a matter of files.
                    if not planner.knows(slot.request):
                        self._start(slot, planner)
                run_async(self._perform(slots, planner))
            except KeyboardInterrupt:
                if not any(slot.run for slot in slots):
                    raise  # no outcome could tell of it, and none at all would pass for success
                for slot in slots:
                    slot.interrupt()
        return [slot.outcome for slot in slots if slot.outcome is not None]

    def _start(self, slot: _Slot, planner: Planner) -> OneRun:
        directory = create(self.runs.absolute(), slot.request.scenario.name)
        report = slot.reports.enter_context(self.reports(directory))

        def tell(event: Event) -> None:
            report(event)
            self.tell(OfRun(directory.path.name, event))

        slot.run = OneRun(slot.request, directory, tell, self.handles)
        slot.run.prepare(planner.plan)
        return slot.run

    async def _perform(self, slots: Sequence[_Slot], planner: Planner) -> None:
        at_once = max(1, min(self.jobs, len(slots)))
        free = asyncio.Semaphore(at_once)

        async def one(slot: _Slot) -> None:
            async with free:
                run = slot.run or self._start(slot, planner)
                await run.perform(self.store, self.after, load(at_once))
                slot.close()

        tasks = [asyncio.create_task(one(slot)) for slot in slots]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Slot:
    """One request on its way to an outcome."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.run: OneRun | None = None
        self.outcome: Outcome | None = None
        self.reports = contextlib.ExitStack()

    def interrupt(self) -> None:
        """What had not ended never will; what had not begun has no outcome."""
        if self.run is not None and self.outcome is None:
            self.run.record.interrupted = True

    def close(self) -> None:
        """Take the outcome, and close the run's reports."""
        if self.run is not None and self.outcome is None:
            self.outcome = self.run.record.finish()
        self.reports.close()


class Planner:
    """Makes the plan of each request; equal ones share it, so that a hundred repeats are prepared once."""

    def __init__(self, store: Store, look: Callable[[Request], None] = lambda request: None) -> None:
        """``look`` is called before anything is fetched or built for a request."""
        self._store = store
        self._look = look
        self._plans: list[tuple[Request, Plan | HostSide | PassthruError]] = []

    def knows(self, request: Request) -> bool:
        """Whether the plan of ``request`` is made already, or could not be."""
        return any(known == request for known, _ in self._plans)

    def plan(self, request: Request, tell: Tell) -> Plan | HostSide:
        """The plan of ``request``; blocks. Raises what plan_run() and ``look`` raise, again for an equal request."""
        for known, plan in self._plans:
            if known == request:
                if isinstance(plan, PassthruError):
                    raise plan
                return plan
        try:
            self._look(request)
            made: Plan | HostSide | PassthruError = plan_run(request, self._store, tell)
        except PassthruError as error:
            made = error
        self._plans.append((request, made))
        return self.plan(request, tell)

    def plan_with_guest(self, request: Request, tell: Tell) -> Plan:
        """As plan(), where a guest is wanted. Raises UserMistake too for a scenario without one."""
        demand_guest(request.scenario, "a fixture for machines takes scenarios that have one; `passthru run` judges it")
        plan = self.plan(request, tell)
        if isinstance(plan, HostSide):
            raise TypeError(f"{request.scenario.name} has a guest, and a plan without one")
        return plan


def _look_at_devices(request: Request) -> None:
    """Nobody waits for a fetch to hear then that this machine cannot. What a rig can is seen when it is up."""
    if not request.scenario.passed_through:
        return
    from passthru.run.preflight import assigns_our_devices, look

    if assigns_our_devices(request.scenario):
        run_async(look(request.scenario)).raise_if_blocked()


def load(at_once: int) -> float:
    """How much slower this machine is for a guest when ``at_once`` of them share it with all else that it does."""
    processors = len(os.sched_getaffinity(0))
    return max(1.0, (at_once + os.getloadavg()[0]) / processors)
