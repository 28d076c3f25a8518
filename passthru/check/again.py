# SPDX-License-Identifier: GPL-2.0-or-later
"""Other checks of the scenario, run once more from within a check: after a device came back, after a reboot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from passthru.check import registry
from passthru.check.finding import Finding, Verdict
from passthru.errors import DeadlineExceeded, UserMistake

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from passthru.check.context import Context
    from passthru.check.options import CheckOptions

THEMSELVES = ("hotplug", "reboot")
"""Checks that run others, and that no other runs."""


@dataclass(frozen=True)
class Again:
    """What the checks found this time, by their ids."""

    findings: Mapping[str, Finding]

    def failed(self) -> list[str]:
        """A sentence for each that failed."""
        return self._said(Verdict.FAILED)

    def unjudged(self) -> list[str]:
        """A sentence for each that could not judge."""
        return self._said(Verdict.ERROR)

    def skipped(self) -> list[str]:
        """A sentence for each that was skipped."""
        return self._said(Verdict.SKIPPED)

    def told(self) -> dict[str, str]:
        """The verdicts, for facts."""
        return {check: str(finding.verdict) for check, finding in self.findings.items()}

    def _said(self, verdict: Verdict) -> list[str]:
        return [f"{check}: {found.summary}" for check, found in self.findings.items() if found.verdict is verdict]


async def judge_again(context: Context, checks: Iterable[str]) -> Again:
    """Run the checks with these ids, each within its own time-out; the first that does not pass or skip is the last.

    Raises UserMistake for an unknown id, and what they raise but for MissingCapability and their own DeadlineExceeded.
    """
    findings = {}
    for check in checks:
        if check not in context.checks:
            known = ", ".join(sorted(context.checks)) or "none"
            raise UserMistake(f'then names "{check}", which is no check of what is run here; there are: {known}')
        found = findings[check] = await _judge(context, check, context.checks[check])
        if found.verdict in (Verdict.FAILED, Verdict.ERROR):
            break
    return Again(findings)


async def _judge(context: Context, check: str, options: CheckOptions) -> Finding:
    limit = context.deadline.narrowed(options.timeout)
    device = context.devices[options.device] if options.device else None
    try:
        async with limit.waiting_for(f"the check {check}"):
            return await registry.judge(replace(context, device=device, deadline=limit), options)
    except DeadlineExceeded as error:
        if context.deadline.remaining <= 0:
            raise
        return Finding(Verdict.FAILED, str(error))


def strangers(checks: Mapping[str, CheckOptions], named: Collection[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the lists ``then`` of a scenario's checks: the check's id and a clause.

    ``named`` are all its checks, those too that something else is wrong with.
    """
    for check, options in checks.items():
        for other in _then(options):
            if other not in named:
                yield check, f'"{other}" is no check of this scenario; there are: {", ".join(sorted(named))}'
            elif other in checks and checks[other].use in THEMSELVES:
                yield check, f'"{other}" is a {checks[other].use} itself; name checks that only look'


def _then(options: CheckOptions) -> Collection[str]:
    return getattr(options, "then", None) or () if options.use in THEMSELVES else ()
