# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is prepared and brought up, for whoever then judges it: a run, or a test of the pytest plugin."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from passthru.deadline import Deadline
from passthru.errors import GuestStuck, GuestTrouble, PassthruError
from passthru.events import Note
from passthru.qemu import accelerator as accelerators
from passthru.run.events import PhaseEnded, PhaseStarted
from passthru.run.handles import Handles
from passthru.run.host_plan import HostSide
from passthru.run.hosts import open_host
from passthru.run.lock import write_host_lock, write_lock
from passthru.run.pins import code_digests
from passthru.run.script import write_script
from passthru.run.stage import set_up
from passthru.scenario.loading import resolved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from passthru.events import Tell
    from passthru.image.store import Store
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan
    from passthru.run.stage import Stage
    from passthru.run.what import Request

AnyPlan = TypeVar("AnyPlan", "Plan", "Plan | HostSide")

LIFETIME = 24 * 3600.0
"""Seconds that a guest may live, before scaling, where what is asked of it has deadlines of its own."""


def prepare(
    request: Request, directory: RunDirectory, make_plan: Callable[[Request, Tell], AnyPlan], tell: Tell
) -> AnyPlan:
    """The plan of ``request``, with scenario, lock file and qemu.sh written into ``directory``.

    Blocks. Raises Unusable, UserMistake, OSError where the directory cannot be written.
    """
    directory.scenario.write_text(json.dumps(resolved(request.scenario), indent=2) + "\n")
    plan = make_plan(request, tell)
    if isinstance(plan, HostSide):
        write_host_lock(directory.lock, plan, code_digests(plan.scenario))
    else:
        write_lock(directory.lock, plan)
    write_script(plan, directory)
    return plan


@contextlib.asynccontextmanager
async def booted(
    plan: Plan,
    directory: RunDirectory,
    store: Store,
    tell: Tell,
    *,
    load: float = 1.0,
    seconds: float | None = LIFETIME,
    handles: Handles = Handles(),  # noqa: B008 (frozen)
) -> AsyncIterator[tuple[Plan, Stage, Deadline]]:
    """Boot the guest of ``plan`` within its scenario's deadline; leaving takes everything down.

    Where KVM gives up while it boots, and was not asked for, it is emulated: the plan given back is the one that holds.
    One that gets stuck in its rig is booted once more.
    ``seconds``, stretched by the accelerator and ``load``, are the guest's; the deadline given back is theirs. Raises
    what ``set_up`` and ``Guest.ready`` raise.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def up(plan: Plan) -> tuple[Plan, Stage, Deadline]:
            deadline = Deadline.after(seconds, scale=plan.accelerator.scale * load)
            return plan, await _up(stack, plan, directory, deadline, tell, handles), deadline

        try:
            running = await up(plan)
        except GuestStuck as stuck:
            await stack.aclose()
            tell(Note(again(stuck)))
            running = await up(plan)
        except PassthruError as error:
            of_device = isinstance(error, GuestTrouble) and error.culprit == "device"
            if (
                plan.rig is not None
                or of_device
                or plan.accelerator.name != "kvm"
                or plan.scenario.guest.accel != "auto"
            ):
                raise
            await stack.aclose()
            first = str(error).splitlines()[0]
            tell(Note(f"the guest did not come up under KVM, so it is emulated: {first}"))
            reason = "a guest died under it before the first check"
            accelerators.remember(store, plan.qemu, plan.kernel, reason)
            running = await up(plan.without_kvm(reason))
        yield running


async def _up(
    stack: contextlib.AsyncExitStack,
    plan: Plan,
    directory: RunDirectory,
    deadline: Deadline,
    tell: Tell,
    handles: Handles,
) -> Stage:
    if plan.rig is not None:
        with phase("host", "booting the emulated host", tell) as came:
            up = await stack.enter_async_context(open_host(plan, directory, deadline, tell))
            came(f"the host is up, Linux {plan.rig.kernel.release}")
    else:
        up = await stack.enter_async_context(open_host(plan, directory, deadline, tell))
    if plan.scenario.passed_through:
        from passthru.run.prepared import prepare_devices

        with phase("devices", "preparing the host's devices", tell) as came:
            memory = plan.scenario.guest.memory_bytes
            up = replace(up, prepared=await prepare_devices(plan, up, tell, memory=memory))
            came(", ".join(f"{made.name} is {made.address}" for made in up.prepared.values()))
    with phase("attach", "starting the device servers and QEMU", tell) as came:
        arguments = handles.qemu_arguments(plan, directory)
        stage = await stack.enter_async_context(set_up(plan, up, directory, deadline, tell, arguments))
        came(", ".join((*stage.companions, *filter(None, (plan.bridged,)), "QEMU")) + " started")
    for advice in handles.advice(stage.qemu.argv):
        tell(Note(advice))
    with phase("boot", "booting the guest", tell) as came:
        hello = await stage.guest.ready(plan.scenario.deadline)
        came(f"the guest is up, Linux {hello.release}")
    return stage


def again(stuck: GuestStuck) -> str:
    """What is said of a guest that is booted once more."""
    return f"{str(stuck).splitlines()[0]}; it is booted once more"


@contextlib.contextmanager
def phase(name: str, text: str, tell: Tell) -> Iterator[Callable[[str], None]]:
    """Tell the beginning and the end of a part of a run; what is given says what came of it."""
    tell(PhaseStarted(name, text))
    began, came = time.monotonic(), [""]
    yield came.append
    tell(PhaseEnded(name, time.monotonic() - began, came[-1]))
