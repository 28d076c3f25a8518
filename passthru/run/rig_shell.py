# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig handed over to a person: its hardware is there and its modules are loaded, nothing is assigned yet."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import UserMistake
from passthru.events import Note
from passthru.guest.console import Console
from passthru.guest.interact import interact, terminal_size
from passthru.host import open_local_host
from passthru.host.rig import open_rig
from passthru.run.booted import phase, prepare
from passthru.run.events import HandoverEnded, HandoverStarted, RunStarted
from passthru.run.host_plan import HostSide
from passthru.run.plan import plan_run

if TYPE_CHECKING:
    from passthru.events import Tell
    from passthru.image.store import Store
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan
    from passthru.run.what import Request


def rig_of(request: Request, directory: RunDirectory, store: Store, tell: Tell) -> Plan | HostSide:
    """The plan of a scenario that has a rig; blocks. Raises UserMistake for one without, what plan_run() raises."""
    if request.scenario.host.kind != "rig":
        raise UserMistake(f'{request.scenario.name} has no rig: its host.kind is "{request.scenario.host.kind}"')
    tell(RunStarted(request.scenario.name, "a shell in its rig", directory.path))
    with phase("prepare", "finding QEMU, kernels and images", tell) as came:
        plan = prepare(request, directory, lambda request, tell: plan_run(request, store, tell), tell)
        came("no guest" if isinstance(plan, HostSide) else f"{plan.qemu.title} in the rig")
    return plan


async def rig_shell(plan: Plan | HostSide, directory: RunDirectory, tell: Tell) -> None:
    """Boot the rig of ``plan`` and join our terminal to its shell until its user leaves with Ctrl-].

    Raises Unusable, GuestTrouble when the rig dies, DeadlineExceeded.
    """
    if plan.rig is None:
        raise UserMistake(f"{plan.scenario.name} has no rig")
    booting = Deadline.after(plan.scenario.deadline, scale=plan.rig.accelerator.scale)
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_local_host(deadline=Deadline(), tell=tell))
        spec = plan.rig.spec(directory, shell=True)
        with phase("host", "booting the emulated host", tell) as came:
            opened = open_rig(spec, local, deadline=booting, tell=tell, directory=directory.path)
            rig = await stack.enter_async_context(opened)
            came(f"the host is up, Linux {plan.rig.kernel.release}")
        if rig.person is None:
            raise UserMistake("the rig has no console for a person")
        await rig.host.set_deadline(Deadline())
        places = ", ".join(f"{name} at {address}" for name, address in plan.rig.addresses.items())
        tell(Note(f"the rig's shell; Ctrl-] leaves it and ends the rig{'; hardware: ' + places if places else ''}"))
        console = Console("the rig's shell", rig.person)
        stack.callback(console.close)
        rows, columns = terminal_size()
        tell(HandoverStarted())
        try:
            await console.send(f"stty rows {rows} cols {columns}\n".encode())
            await rig.troubles.guard(interact(console, Deadline()))
        finally:
            tell(HandoverEnded())
