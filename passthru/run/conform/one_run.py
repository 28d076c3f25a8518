# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of the suite: prepare (blocking), perform (host, devices, suite), finish; told as any run is."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import UserMistake
from passthru.events import Note
from passthru.run.booted import phase
from passthru.run.companions import device_server, server_spec
from passthru.run.conform.complaints import Complaints
from passthru.run.conform.go import Go, unguarded
from passthru.run.conform.judging import Served, judge_device
from passthru.run.conform.kept import PATIENCE, KeptServer, kept
from passthru.run.conform.plan import make_plan
from passthru.run.conform.target import target_of
from passthru.run.conform.verdicts import Verdicts
from passthru.run.directory import create
from passthru.run.events import OfRun
from passthru.run.host_plan import used
from passthru.run.host_side import ready_host
from passthru.run.outside import drained
from passthru.run.record import Record
from passthru.run.signals import run_async
from passthru.scenario.models import ServedDevice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from passthru.events import Event, Tell
    from passthru.image.store import Store
    from passthru.run.conform.plan import ConformPlan
    from passthru.run.conform.request import ConformRequest
    from passthru.run.directory import RunDirectory
    from passthru.run.hosts import HostUp
    from passthru.run.outcome import Outcome
    from passthru.run.runner import Reports
    from passthru.scenario.models import DeviceSpec

LIFETIME = 3600.0
"""Seconds that a host may live, before scaling; what is asked of it has deadlines of its own."""


def conform(request: ConformRequest, runs: Path, reports: Reports, tell: Tell, store: Store) -> Outcome:
    """Judge the devices of ``request``, into a run directory below ``runs``; an interruption is part of the outcome.

    Raises UserMistake, Unusable where a run directory cannot be written, KeyboardInterrupt where nothing had begun.
    """
    directory = create(runs.absolute(), request.scenario.name)
    with reports(directory) as report:

        def told(event: Event) -> None:
            report(event)
            tell(OfRun(directory.path.name, event))

        run = ConformRun(request, directory, told)
        try:
            run.prepare(store)
            run_async(run.perform())
        except KeyboardInterrupt:
            run.record.interrupted = True
        return run.record.finish()


class ConformRun:
    """One run on its way. Whatever goes wrong becomes part of its outcome, but for a mistake of the user's."""

    def __init__(self, request: ConformRequest, directory: RunDirectory, tell: Tell) -> None:
        self._request = request
        self._scenario = request.scenario
        self._directory = directory
        self._tell = tell
        self.record = Record(request.scenario, directory, tell)
        self._plan: ConformPlan | None = None

    def prepare(self, store: Store) -> None:
        """Find, fetch and build what it needs; blocks. Raises UserMistake, KeyboardInterrupt."""
        self.record.begin()
        with self.record.timed_and_broken_off_by_errors():
            with phase("prepare", "finding what it needs", self._tell) as came:
                plan = make_plan(self._request, self._directory, store, self._tell)
                self.record.used |= used(plan)
                if plan.rig is not None:
                    came(f"{plan.rig.emulator.title}, kernel {plan.rig.kernel.release}, {used(plan)['accelerator']}")
            self._plan = plan

    async def perform(self) -> None:
        """Judge what was prepared. Raises CancelledError."""
        if self._plan is None:
            return
        with self.record.performed():
            await self._judge(self._plan)

    async def _judge(self, plan: ConformPlan) -> None:
        scale = plan.rig.accelerator.scale if plan.rig else 1.0
        deadline = Deadline.after(LIFETIME, scale=scale)
        booting = deadline.narrowed(self._scenario.deadline)
        async with ready_host(plan, self._directory, deadline, self._tell, booting=booting) as up:
            complaints = Complaints(up.rig.kernel_log if up.rig else None)
            for name, device in self._scenario.device.items():
                prefix = f"{name}/" if len(self._scenario.device) > 1 else ""
                verdicts = Verdicts(name, prefix, self.record.add, self._tell, complaints)
                with self.record.broken_off_by_errors():
                    try:
                        await self._judge_device(plan, up, name, device, verdicts, complaints, deadline)
                    except UserMistake as mistake:
                        self.record.mistake(mistake)
                if verdicts.title:
                    self.record.used |= _used(name, verdicts)
                if up.rig is not None and up.rig.troubles.first is not None:
                    break  # the host is gone

    async def _judge_device(
        self,
        plan: ConformPlan,
        up: HostUp,
        name: str,
        device: DeviceSpec,
        verdicts: Verdicts,
        complaints: Complaints,
        deadline: Deadline,
    ) -> None:
        go = Go(
            host=up.host,
            name=f"conform-{name}",
            target=target_of(name, device, up.prepared),
            options=replace(self._request.options, stub=plan.stub_on(up.host)),
            output=self._directory.output(f"conform-{name}"),
            scale=deadline.scale,
            guard=up.rig.troubles.guard if up.rig else unguarded,
        )
        serve = partial(self._serve, go, up, name, device, deadline)
        with phase("suite", f"opening {name}", self._tell):
            async with drained(up.lines):
                await judge_device(serve, verdicts, complaints, self._scenario.subject)

    @contextlib.asynccontextmanager
    async def _serve(
        self, go: Go, up: HostUp, name: str, device: DeviceSpec, deadline: Deadline, number: int
    ) -> AsyncIterator[Served]:
        """What the go ``number`` of the suite runs against, ready."""
        if not isinstance(device, ServedDevice):
            yield Served(go)
            return
        # A server that was killed leaves its socket behind, and its successor may not take it.
        own = name if number == 1 else f"{name}.{number}"
        traced = up.rig is None
        async with contextlib.AsyncExitStack() as stack:
            served = device_server(own, device, self._directory, up.host, deadline, traced=traced)
            if number == 1:
                with phase("serve", f"starting the device server {name}", self._tell) as came:
                    child = await stack.enter_async_context(served)
                    came("" if child is None else f"{name} is served (process {child.pid})")
            else:
                child = await stack.enter_async_context(served)
                if child is not None:
                    self._tell(Note(f"the device server {name} is started anew for the rest of the tests"))
            go = replace(go, target=target_of(own, device, up.prepared))
            if child is None:
                yield Served(go)
                return
            server = KeptServer(child)
            if device.companion is not None and (spec := server_spec(own, device, self._directory, up.host)):
                go = replace(go, target={**go.target, "patience": f"{PATIENCE:g}"})
                await stack.enter_async_context(kept(server, up.host, spec))
            yield Served(go, server, self._directory.output(own))


def _used(name: str, verdicts: Verdicts) -> dict[str, str]:
    """What is known of a device, in words."""
    facts = verdicts.facts
    words = {key: facts.get(key) for key in ("kernel", "driver", "container")}
    told = ", ".join(f"{key} {value}" for key, value in words.items() if value)
    can = ", ".join(facts.get("capabilities", ()))
    return {
        f"device {name}": f"{verdicts.title}{f' ({told})' if told else ''}",
        f"capabilities of {name}": can,
    }
