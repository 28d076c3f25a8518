# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs without a guest: the host, its devices prepared, and the checks that judge them there."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.check.context import NoGuest
from passthru.deadline import Deadline
from passthru.errors import GuestTrouble
from passthru.run.assembly import assigned_devices
from passthru.run.booted import phase
from passthru.run.conform.complaints import Complaints
from passthru.run.conform.go import unguarded
from passthru.run.conform.suite import HostSuite
from passthru.run.host_hand import HostPrograms
from passthru.run.hosts import open_host
from passthru.run.judging import Judging
from passthru.run.prepared import prepare_devices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.events import Tell
    from passthru.run.directory import RunDirectory
    from passthru.run.host_plan import HostSide
    from passthru.run.hosts import HostPlan, HostUp
    from passthru.run.record import Record


@contextlib.asynccontextmanager
async def ready_host(
    plan: HostPlan, directory: RunDirectory, deadline: Deadline, tell: Tell, *, booting: Deadline
) -> AsyncIterator[HostUp]:
    """The host, with its devices prepared for whoever opens them there; leaving gives them back and ends it.

    ``booting`` is when a rig must be up. Raises what open_host() and prepare_devices() raise.
    """
    async with contextlib.AsyncExitStack() as stack:
        opened = open_host(plan, directory, deadline, tell, booting=booting)
        if plan.rig is None:
            up = await stack.enter_async_context(opened)
        else:
            with phase("host", "booting the emulated host", tell) as came:
                up = await stack.enter_async_context(opened)
                came(f"the host is up, Linux {plan.rig.kernel.release}")
        if plan.scenario.passed_through:
            with phase("devices", "preparing the host's devices", tell) as came:
                up = replace(up, prepared=await prepare_devices(plan, up, tell, memory=0))
                came(", ".join(f"{made.name} is {made.address}" for made in up.prepared.values()))
        yield up


async def judge_on_host(
    plan: HostSide, directory: RunDirectory, tell: Tell, record: Record, *, load: float, limitless: bool
) -> None:
    """Judge the devices of ``plan`` on their host, by all checks, into ``record``.

    ``load`` stretches the deadlines. Raises what ready_host() raises.
    """
    scenario = plan.scenario
    scale = (plan.rig.accelerator.scale if plan.rig else 1.0) * load
    deadline = Deadline.after(None if limitless else scenario.deadline, scale=scale)
    async with ready_host(plan, directory, deadline, tell, booting=deadline) as up:
        troubles = up.rig.troubles if up.rig else None
        complaints = Complaints(up.rig.kernel_log if up.rig else None)
        judging = Judging(
            scenario=scenario,
            guest=NoGuest(),
            devices=assigned_devices(plan, up),
            deadline=deadline,
            tell=tell,
            judgements=record.judgements,
            host=HostPrograms(up.host, directory.path, up.facts, troubles.guard if troubles else unguarded),
            outside=up.lines,
            suite=HostSuite(scenario, up, directory, tell, complaints),
            lost=lambda: str(troubles.first).splitlines()[0] if troubles and troubles.first else "",
        )
        with phase("checks", "running the checks", tell):
            await judging.all()
        if up.rig is not None and up.rig.kernel_log.splats and not record.failed:
            titles = "; ".join(splat.title for splat in up.rig.kernel_log.splats)
            record.blame(GuestTrouble("host-kernel", f"the host's kernel complained: {titles}"))
