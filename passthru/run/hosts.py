# SPDX-License-Identifier: GPL-2.0-or-later
"""The host of a run, up: this machine, or a rig that this machine emulates."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from passthru.events import Note
from passthru.host import open_local_host
from passthru.run.host_hand import facts_of
from passthru.run.outside import SocketLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from passthru.deadline import Deadline
    from passthru.events import Tell
    from passthru.host import Host
    from passthru.host.devices import Prepared
    from passthru.host.rig import Rig
    from passthru.run.directory import RunDirectory
    from passthru.run.rig_plan import RigPlan
    from passthru.scenario.models import Scenario


class HostPlan(Protocol):
    """What of a plan is about its host."""

    @property
    def scenario(self) -> Scenario: ...
    @property
    def rig(self) -> RigPlan | None:
        """None: this machine."""


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
async def open_host(
    plan: HostPlan, directory: RunDirectory, deadline: Deadline, tell: Tell, *, booting: Deadline | None = None
) -> AsyncIterator[HostUp]:
    """Start what owns the devices; leaving ends it, and it undoes what was done to it.

    ``booting`` is when a rig must be up at the latest, where that is before ``deadline``. Raises Unusable, GuestTrouble
    (``culprit`` host-kernel or rig), DeadlineExceeded.
    """
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_local_host(deadline=deadline, tell=tell))
        if plan.rig is None:
            yield HostUp(local)
            if plan.scenario.passed_through and local.lost.done():
                tell(Note("what the lost worker had done to this machine's devices, `passthru recover` undoes"))
            return
        from passthru.host.rig import open_rig  # what most runs do without

        spec = plan.rig.spec(directory)
        opened = open_rig(spec, local, deadline=deadline, booting=booting, tell=tell, directory=directory.path)
        rig = await stack.enter_async_context(opened)
        yield HostUp(rig.host, rig)
