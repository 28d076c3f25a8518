# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of the host's kernel, made ready for the guest of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from passthru.events import Note
from passthru.host.devices import preflight, prepare
from passthru.run.assignments import assignments
from passthru.run.events import DevicePrepared

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from passthru.events import Tell
    from passthru.host.devices import Prepared
    from passthru.run.hosts import HostPlan, HostUp

T = TypeVar("T")


async def prepare_devices(plan: HostPlan, up: HostUp, tell: Tell, *, memory: int) -> dict[str, Prepared]:
    """Look whether everything is there, and then make each device of the host's kernel ready for its user.

    ``memory`` is how many bytes of its user's are to be locked for DMA, 0 where that is unknown. Raises UserMistake for
    what the scenario names wrongly, Unusable for what this host cannot do, MissingCapability, GuestTrouble where the
    host dies of it.
    """
    wanted = assignments(plan.scenario, plan.rig.addresses if plan.rig else {})
    if not wanted:
        return {}
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
