# SPDX-License-Identifier: GPL-2.0-or-later
"""The first look at this machine's devices, before anything is fetched or built for a run that could not use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.host import open_local_host
from passthru.host.devices import preflight
from passthru.run.assignments import assignments

if TYPE_CHECKING:
    from passthru.host.devices import Preflight
    from passthru.scenario.models import Scenario

SECONDS = 30.0
"""For a look at sysfs, which takes a tenth of one."""


def assigns_our_devices(scenario: Scenario) -> bool:
    """Whether devices of this machine's kernel are assigned; a rig's are looked at once it is up."""
    return scenario.host.kind == "local" and bool(scenario.passed_through)


async def look(scenario: Scenario | None) -> Preflight:
    """What stands in the way of ``scenario`` on this machine, or, without one, the facts alone; touches nothing.

    Raises Unusable.
    """
    wanted = assignments(scenario, {}) if scenario else []
    memory = scenario.guest.memory_bytes if scenario and scenario.has_guest else 0
    async with open_local_host(deadline=Deadline.after(SECONDS)) as host:
        return await preflight(host, wanted, memory, "local")
