# SPDX-License-Identifier: GPL-2.0-or-later
"""The host of a run, up: this machine, or a rig that this machine emulates; and the devices prepared on it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from passthru.events import Note
from passthru.host import open_local_host
from passthru.host.devices import preflight, prepare
from passthru.host.rig import open_rig
from passthru.run.assignments import assignments
from passthru.run.events import DevicePrepared
from passthru.run.host_hand import facts_of
from passthru.run.outside import SocketLine
from passthru.run.preflight import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from passthru.deadline import Deadline
    from passthru.events import Tell
    from passthru.host import Host
    from passthru.host.devices import Prepared
    from passthru.host.rig import Rig
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class HostUp:
    """A host that is up; ``rig`` is there where it is emulated."""

    host: Host
    rig: Rig | None = None
    prepared: Mapping[str, Prepared] = field(default_factory=dict)
    """The devices of the host's kernel that are ready for the guest, by their ids."""

    @property
    def facts(self) -> dict[str, dict[str, str]]:
        """What checks know of each prepared device."""
        return {name: facts_of(made) for name, made in self.prepared.items()}

    @property
    def lines(self) -> dict[str, SocketLine]:
        """The far ends of a rig's hardware, by its name."""
        return {name: SocketLine(end, name) for name, end in self.rig.outside.items()} if self.rig else {}


@contextlib.asynccontextmanager
async def open_host(plan: Plan, directory: RunDirectory, deadline: Deadline, tell: Tell) -> AsyncIterator[HostUp]:
    """Start what owns the devices; leaving ends it, and it undoes what was done to it.

    Raises Unusable, GuestTrouble (``culprit`` host-kernel or rig), DeadlineExceeded.
    """
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_local_host(deadline=deadline, tell=tell))
        if plan.rig is None:
            yield HostUp(local)
            if plan.scenario.passed_through and local.lost.done():
                tell(Note("what the lost worker had done to this machine's devices, `passthru recover` undoes"))
            return
        spec = plan.rig.spec(directory)
        opened = open_rig(spec, local, deadline=deadline, tell=tell, directory=directory.path)
        rig = await stack.enter_async_context(opened)
        yield HostUp(rig.host, rig)


async def prepare_devices(plan: Plan, up: HostUp, tell: Tell) -> dict[str, Prepared]:
    """Look whether everything is there, and then make each device of the host's kernel ready for the guest.

    Raises UserMistake for what the scenario names wrongly, Unusable for what this host cannot do, MissingCapability,
    GuestTrouble where the host dies of it.
    """
    wanted = assignments(plan.scenario, plan.rig.addresses if plan.rig else {})
    if not wanted:
        return {}
    memory = plan.scenario.guest.memory * MEBIBYTE
    found = await _guarded(up, preflight(up.host, wanted, memory, plan.scenario.host.kind))
    found.raise_if_blocked()
    prepared = {}
    for assignment in wanted:
        made = await _guarded(up, prepare(up.host, assignment))
        prepared[assignment.name] = made
        tell(DevicePrepared(made.name, made.address, made.group, made.devices))
        for note in made.notes:
            tell(Note(note))
    return prepared


async def _guarded(up: HostUp, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, or what befell the rig meanwhile."""
    return await (up.rig.troubles.guard(work) if up.rig else work)
