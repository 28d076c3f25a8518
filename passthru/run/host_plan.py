# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan of a run without a guest: what its host needs, found and made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.run.pins import demand_same_code

if TYPE_CHECKING:
    from passthru.events import Tell
    from passthru.image.store import Store
    from passthru.run.hosts import HostPlan
    from passthru.run.rig_plan import RigPlan
    from passthru.run.what import Request
    from passthru.scenario.models import Scenario


@dataclass(frozen=True)
class HostSide:
    """All that a run without a guest uses, found and made; nothing is started yet."""

    scenario: Scenario
    rig: RigPlan | None = None


def demand_guest(scenario: Scenario, instead: str) -> None:
    """Raise UserMistake for a scenario without a guest; ``instead`` is what its user can do."""
    if not scenario.has_guest:
        raise UserMistake(f'{scenario.name} has no guest ([guest] kind = "none"); {instead}')


def plan_host_side(request: Request, store: Store, tell: Tell, *, update: bool = False) -> HostSide:
    """Find, fetch and build what the host of ``request`` needs. Blocks. Raises Unusable, UserMistake."""
    scenario = request.scenario
    demand_same_code(scenario, request.pins.code)
    if scenario.host.kind != "rig":
        return HostSide(scenario)
    from passthru.run.rig_plan import plan_rig  # what needs no rig does without

    return HostSide(scenario, plan_rig(scenario, None, {}, store, tell, request.pins, update=update))


def used(plan: HostPlan) -> dict[str, str]:
    """What a host uses, in words; nothing of this machine."""
    rig = plan.rig
    if rig is None:
        return {}
    accelerator = rig.accelerator.name.upper()
    return {
        "host": f"{rig.kernel.release} ({rig.kernel.source}) in {rig.emulator.title}",
        "accelerator": f"{accelerator} ({rig.accelerator.reason})" if rig.accelerator.reason else accelerator,
    }
