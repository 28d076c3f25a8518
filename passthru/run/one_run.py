# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: prepare (blocking), perform (set up, boot, judge, take down), finish. Each step leaves its part behind."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from passthru.errors import GuestStuck, GuestTrouble
from passthru.run.assembly import assigned_devices
from passthru.run.booted import again, booted, phase, prepare
from passthru.run.handover import hand_over, keep
from passthru.run.host_plan import HostSide
from passthru.run.host_plan import used as used_of_host
from passthru.run.judging import Judging
from passthru.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.deadline import Deadline
    from passthru.events import Tell
    from passthru.image.store import Store
    from passthru.run.directory import RunDirectory
    from passthru.run.handles import Handles
    from passthru.run.plan import Plan
    from passthru.run.stage import Stage
    from passthru.run.what import Request


class After(Enum):
    """What follows once the guest is up."""

    CHECKS = "checks"
    CHECKS_THEN_SHELL_ON_FAILURE = "checks, then the shell if one failed"
    SHELL = "shell"


class OneRun:
    """One run on its way. Whatever goes wrong becomes part of its outcome, but for a mistake of the user's."""

    def __init__(self, request: Request, directory: RunDirectory, tell: Tell, handles: Handles) -> None:
        self.request = request
        self.plan: Plan | HostSide | None = None
        self._scenario = request.scenario
        self._directory = directory
        self._tell = tell
        self.record = Record(request.scenario, directory, tell)
        self._handles = handles
        self._judging = False

    def prepare(self, make_plan: Callable[[Request, Tell], Plan | HostSide]) -> None:
        """Find, fetch and build what the run needs; blocks. Raises UserMistake, KeyboardInterrupt."""
        self.record.begin()
        with self.record.timed_and_broken_off_by_errors():
            with phase("prepare", "finding QEMU, kernel and image", self._tell) as came:
                plan = prepare(self.request, self._directory, make_plan, self._tell)
                if isinstance(plan, HostSide):
                    self._handles.demand_none(plan.scenario)
                    self.record.used |= used_of_host(plan)
                    came(", ".join(used_of_host(plan).values()))
                else:
                    self._handles.qemu_arguments(plan, self._directory)  # a mistake in them is told before any boot
                    self.record.used |= used(plan)
                    came(f"{plan.qemu.title}, kernel {plan.kernel.release}, {used(plan)['accelerator']}")
            self.plan = plan

    async def perform(self, store: Store, after: After, load: float) -> None:
        """Boot and judge what was prepared. ``load`` stretches the deadlines on a machine that does more than this.

        Raises CancelledError.
        """
        if self.plan is None:
            return
        with self.record.performed():
            if isinstance(self.plan, HostSide):
                await self._judge_on_host(self.plan, load)
            else:
                await self._boot(self.plan, store, after, load)

    async def _judge_on_host(self, plan: HostSide, load: float) -> None:
        from passthru.run.host_side import judge_on_host  # what runs with a guest do without

        await judge_on_host(
            plan, self._directory, self._tell, self.record, load=load, limitless=self._handles.limitless
        )

    async def _boot(self, plan: Plan, store: Store, after: After, load: float) -> None:
        try:
            await self._boot_once(plan, store, after, load)
        except GuestStuck as stuck:
            if not self._judging:
                raise
            self.record.begin_again(again(stuck))
            await self._boot_once(plan, store, after, load)

    async def _boot_once(self, plan: Plan, store: Store, after: After, load: float) -> None:
        seconds = None if self._handles.limitless else self._scenario.deadline
        up = booted(plan, self._directory, store, self._tell, load=load, seconds=seconds, handles=self._handles)
        async with up as (held, stage, deadline):
            self.plan = held
            self.record.used |= used(held)
            await self._use(held, stage, deadline, after)

    async def _use(self, plan: Plan, stage: Stage, deadline: Deadline, after: After) -> None:
        if after is After.SHELL:
            await hand_over(stage, self._tell)
            return
        await self._judge(plan, stage, deadline)
        if after is After.CHECKS_THEN_SHELL_ON_FAILURE and self.record.failed:
            await hand_over(stage, self._tell)
        if self._handles.keep:
            await keep(stage, self._tell)

    async def _judge(self, plan: Plan, stage: Stage, deadline: Deadline) -> None:
        judging = Judging(
            scenario=self._scenario,
            guest=stage.guest,
            devices=assigned_devices(plan, stage.up, plan.tree),
            deadline=deadline,
            tell=self._tell,
            judgements=self.record.judgements,
            machine=stage.machine,
            missing=plan.image.missing,
            host=stage.programs,
            outside=stage.up.lines,
        )
        self._judging = True
        with phase("checks", "running the checks", self._tell):
            await judging.all()
        self._judging = False
        if stage.guest.kernel_log.splats and not self.record.failed:
            titles = "; ".join(splat.title for splat in stage.guest.kernel_log.splats)
            self.record.blame(GuestTrouble("guest-kernel", f"the guest's kernel complained: {titles}"))
        rig = stage.up.rig
        if rig is not None and rig.kernel_log.splats and not self.record.failed:
            titles = "; ".join(splat.title for splat in rig.kernel_log.splats)
            self.record.blame(GuestTrouble("host-kernel", f"the host's kernel complained: {titles}"))


def used(plan: Plan) -> dict[str, str]:
    """What ``plan`` uses, in words."""
    accelerator = plan.accelerator.name.upper()
    rig = plan.rig
    host = {} if rig is None else {"host": f"{rig.kernel.release} ({rig.kernel.source}) in {rig.emulator.title}"}
    return {
        **host,
        "qemu": plan.qemu.title,
        "kernel": f"{plan.kernel.release} ({plan.kernel.source})",
        "accelerator": f"{accelerator} ({plan.accelerator.reason})" if plan.accelerator.reason else accelerator,
        "machine": plan.scenario.guest.machine,
    }
