# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: plan, set up, boot, judge, take down, write the run directory."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from passthru.check.finding import Finding, Verdict
from passthru.deadline import Deadline
from passthru.errors import GuestTrouble, PassthruError, Unusable, UserMistake
from passthru.events import Event, Note, Tell, tell_nobody
from passthru.image.store import Store
from passthru.qemu import accelerator as accelerators
from passthru.run.assembly import assigned_devices, machine
from passthru.run.directory import RunDirectory, create
from passthru.run.events import CheckEnded, PhaseEnded, PhaseStarted, RunEnded, RunStarted
from passthru.run.handover import hand_over
from passthru.run.judging import Judging
from passthru.run.lock import write_lock
from passthru.run.outcome import Judgement, Outcome, blame
from passthru.run.plan import make_plan
from passthru.run.script import write_script
from passthru.run.signals import run_async
from passthru.run.stage import set_up
from passthru.scenario.loading import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.run.plan import Plan
    from passthru.run.stage import Stage
    from passthru.run.what import Request

RUN = "run"
"""The id and kind of the judgement that stands for the run itself, where it broke off outside of a check."""


class After(Enum):
    """What follows once the guest is up."""

    CHECKS = "checks"
    CHECKS_THEN_SHELL_ON_FAILURE = "checks, then the shell if one failed"
    SHELL = "shell"


Reports = Callable[[RunDirectory], AbstractContextManager[Tell]]
"""Gives the listener that reports on one run into its run directory."""


@dataclass(frozen=True)
class Runner:
    """Runs requests one after the other, each into a run directory of its own below ``runs``."""

    runs: Path
    reports: Reports
    tell: Tell = tell_nobody
    after: After = After.CHECKS
    store: Store = field(default_factory=Store)

    def run(self, request: Request) -> Outcome:
        """Run one request to its end; raises UserMistake, KeyboardInterrupt, and Unusable where the run
        directory cannot be written. Everything else that goes wrong is part of the outcome."""
        directory = create(self.runs.absolute(), request.scenario.name)
        with self.reports(directory) as report:

            def tell(event: Event) -> None:
                report(event)
                self.tell(event)

            return _Run(request, directory, tell, self.after, self.store).whole()


class _Run:
    """One run on its way."""

    def __init__(self, request: Request, directory: RunDirectory, tell: Tell, after: After, store: Store) -> None:
        self._request = request
        self._scenario = request.scenario
        self._directory = directory
        self._tell = tell
        self._after = after
        self._store = store
        self._judgements: list[Judgement] = []
        self._used: dict[str, str] = {}

    def whole(self) -> Outcome:
        began = time.monotonic()
        scenario = self._scenario
        self._tell(RunStarted(scenario.name, scenario.summary, self._directory.path))
        interrupted = False
        try:
            self._directory.scenario.write_text(json.dumps(resolved(scenario), indent=2) + "\n")
            plan = self._plan()
            run_async(self._attempts(plan))
        except KeyboardInterrupt:
            interrupted = True
        except UserMistake:
            raise
        except PassthruError as error:
            self._broke_off(blame(error, scenario.subject) if isinstance(error, GuestTrouble) else _unjudged(error))
        except OSError as error:
            self._broke_off(_unjudged(_disk_trouble(error, self._directory)))
        outcome = Outcome(scenario.name, tuple(self._judgements), self._used, interrupted)
        self._tell(RunEnded(outcome, time.monotonic() - began))
        return outcome

    def _plan(self) -> Plan:
        with self._phase("prepare", "finding QEMU, kernel and image") as done:
            plan = make_plan(self._request, self._store, self._tell)
            write_lock(self._directory.lock, plan)
            write_script(plan, self._directory)
            self._used |= _used(plan)
            done(f"{plan.qemu.title}, kernel {plan.kernel.release}, {_accelerator(plan)}")
        return plan

    async def _attempts(self, plan: Plan) -> None:
        """Run the plan; once more without KVM where that gave up before the first check."""
        try:
            await self._attempt(plan)
        except PassthruError as error:
            if plan.accelerator.name != "kvm" or self._scenario.guest.accel != "auto" or self._judgements:
                raise
            self._tell(Note(f"the guest did not come up under KVM, so it is emulated: {str(error).splitlines()[0]}"))
            accelerators.remember(self._store, plan.qemu, plan.kernel, "a guest died under it before the first check")
            await self._attempt(plan.without_kvm("KVM gave up before the first check"))

    async def _attempt(self, plan: Plan) -> None:
        deadline = Deadline.after(self._scenario.deadline, scale=plan.accelerator.scale)
        with contextlib.ExitStack() as phases:
            done = phases.enter_context(self._phase("attach", "starting the device servers and QEMU"))
            async with set_up(plan, self._directory, deadline, self._tell) as stage:
                done(", ".join((*stage.companions, "QEMU")) + " started")
                phases.close()
                await self._boot(stage, deadline)
                if self._after is After.SHELL:
                    await hand_over(stage, self._tell)
                    return
                await self._judge(plan, stage, deadline)
                if self._after is After.CHECKS_THEN_SHELL_ON_FAILURE and self._failed():
                    await hand_over(stage, self._tell)

    async def _boot(self, stage: Stage, deadline: Deadline) -> None:
        with self._phase("boot", "booting the guest") as done:
            hello = await stage.guest.ready(deadline.remaining)
            done(f"the guest is up, Linux {hello.release}")

    async def _judge(self, plan: Plan, stage: Stage, deadline: Deadline) -> None:
        judging = Judging(
            scenario=self._scenario,
            guest=stage.guest,
            devices=assigned_devices(plan),
            deadline=deadline,
            tell=self._tell,
            judgements=self._judgements,
        )
        with self._phase("checks", "running the checks"):
            await judging.all()

    def _failed(self) -> bool:
        return any(judgement.finding.verdict is not Verdict.PASSED for judgement in self._judgements)

    def _broke_off(self, finding: Finding) -> None:
        judgement = Judgement(RUN, RUN, finding, 0.0)
        self._judgements.append(judgement)
        self._tell(CheckEnded(judgement))

    @contextlib.contextmanager
    def _phase(self, name: str, text: str) -> Iterator[Callable[[str], None]]:
        """Tell the beginning and the end of a phase; what it is given says what came of it."""
        self._tell(PhaseStarted(name, text))
        began, came = time.monotonic(), [""]
        yield came.append
        self._tell(PhaseEnded(name, time.monotonic() - began, came[-1]))


def _unjudged(error: PassthruError) -> Finding:
    return Finding(Verdict.ERROR, str(error))


def _disk_trouble(error: OSError, directory: RunDirectory) -> Unusable:
    reason = error.strerror or str(error)
    return Unusable(f"cannot write {error.filename or directory.path}: {reason}; name another place with --runs DIR")


def _accelerator(plan: Plan) -> str:
    name = plan.accelerator.name.upper()
    return f"{name} ({plan.accelerator.reason})" if plan.accelerator.reason else name


def _used(plan: Plan) -> dict[str, str]:
    return {
        "qemu": plan.qemu.title,
        "kernel": f"{plan.kernel.release} ({plan.kernel.source})",
        "accelerator": _accelerator(plan),
        "machine": machine(plan).machine,
    }
