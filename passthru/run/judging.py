# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the checks of a scenario in a guest that is up, one after the other, each to a judgement."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.check.context import Context
from passthru.check.finding import Finding, Verdict
from passthru.check.registry import judge
from passthru.errors import DeadlineExceeded, GuestStuck, GuestTrouble, PassthruError
from passthru.run.events import CheckEnded, CheckStarted
from passthru.run.outcome import Judgement, blame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from passthru.check.context import AssignedDevice, Guest
    from passthru.check.host_hand import HostHand
    from passthru.check.machine import Machine
    from passthru.check.options import CheckOptions
    from passthru.check.outside import Line
    from passthru.check.suite import Suite
    from passthru.deadline import Deadline
    from passthru.errors import MissingCapability
    from passthru.events import Tell
    from passthru.scenario.models import Scenario


@dataclass
class Judging:
    """Judges one guest by the checks of one scenario; ``judgements`` grows as they end."""

    scenario: Scenario
    guest: Guest
    devices: Mapping[str, AssignedDevice]
    deadline: Deadline
    tell: Tell
    judgements: list[Judgement]
    machine: Machine | None = None
    """The hand on the guest's machine, for the checks that take its devices out, or reboot it."""
    host: HostHand | None = None
    """The hand on the host that owns the devices."""
    outside: Mapping[str, Line] = field(default_factory=dict)
    """The far ends of the rig's hardware."""
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)
    """The kernel modules that the guest could not be given, and why."""
    suite: Suite | None = None
    """The conformance suite, where no guest has the devices."""
    lost: Callable[[], str] = str
    """Why nothing can be judged any more, beside what a check says; empty as long as it can."""

    async def all(self) -> None:
        """Run every check; once the guest is gone, the rest can no longer be judged. Raises GuestStuck."""
        gone: str | None = None
        for check, spec in self.scenario.check.items():
            self.tell(CheckStarted(check))
            began = time.monotonic()
            gone = gone or self.lost() or None
            if gone is None:
                finding, gone = await self._judge(check, spec)
            else:
                finding = Finding(Verdict.ERROR, f"could not judge: {gone}")
            self.add(Judgement(check, spec.use, finding, time.monotonic() - began))

    def add(self, judgement: Judgement) -> None:
        """Take a judgement and tell it."""
        self.judgements.append(judgement)
        self.tell(CheckEnded(judgement))

    async def _judge(self, check: str, spec: CheckOptions) -> tuple[Finding, str | None]:
        limit = self.deadline.narrowed(spec.timeout)
        context = Context(
            guest=self.guest,
            device=self.devices[spec.device] if spec.device else None,
            deadline=limit,
            tell=self.tell,
            machine=self.machine,
            devices=self.devices,
            checks=self.scenario.check,
            missing=self.missing,
            host=self.host,
            outside=self.outside,
            suite=self.suite,
            passed=[each.check for each in self.judgements if each.finding.verdict is Verdict.PASSED],
        )
        try:
            async with limit.waiting_for(f"the check {check}"):
                return await judge(context, spec), None
        except GuestStuck:
            raise  # no judgement: whoever runs the checks may boot again
        except GuestTrouble as trouble:
            lost = "guest" if self.scenario.has_guest else "host"
            return blame(trouble, self.scenario.subject), f"the {lost} was lost in the check {check}"
        except PassthruError as error:
            return self._unjudged(error), None
        except Exception as error:
            # A bug in a check must not take the other judgements with it; the traceback is what its author needs.
            trace = "".join(traceback.format_exception(error))
            return Finding(Verdict.ERROR, f"the check broke: {type(error).__name__}: {error}", (trace,)), None

    def _unjudged(self, error: PassthruError) -> Finding:
        match error:
            case DeadlineExceeded() if self.deadline.remaining > 0:
                # The guest is alive and answers, but what was asked of the device never came.
                return Finding(Verdict.FAILED, str(error))
            case _:
                return Finding(Verdict.ERROR, str(error))
