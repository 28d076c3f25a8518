# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a run: the judgements of its checks, and the exit code that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from passthru.check.finding import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from passthru.errors import GuestTrouble


class ExitCode(IntEnum):
    """The exit codes of ``passthru``; where several apply, the earliest of PRECEDENCE counts."""

    PASSED = 0
    FAILED = 1
    MISTAKE = 2
    NOT_JUDGED = 125
    INTERRUPTED = 130


PRECEDENCE = (ExitCode.INTERRUPTED, ExitCode.MISTAKE, ExitCode.FAILED, ExitCode.NOT_JUDGED, ExitCode.PASSED)


MISTAKE = "mistake"
"""The fact in the finding of a run that broke off by a mistake of the user's."""


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that counts among several; PASSED when there are none."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.PASSED)


@dataclass(frozen=True)
class Judgement:
    """One judgement: the check's id and kind, what it found, and how long it took in seconds."""

    check: str
    use: str
    finding: Finding
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """All judgements of one run, in order; one of kind ``run`` stands for the run itself when it broke off."""

    scenario: str
    judgements: tuple[Judgement, ...]
    used: Mapping[str, str] = field(default_factory=dict)
    """What the run used, for reports: qemu, kernel, accelerator, ..."""
    interrupted: bool = False

    def verdict(self, *, skips_count: bool = False) -> Verdict:
        """The whole run's verdict; with ``skips_count`` a skipped check means that the run could not be judged."""
        verdicts = [judgement.finding.verdict for judgement in self.judgements]
        if Verdict.FAILED in verdicts:
            return Verdict.FAILED
        if Verdict.ERROR in verdicts or self.interrupted:
            return Verdict.ERROR
        if Verdict.PASSED not in verdicts or (skips_count and Verdict.SKIPPED in verdicts):
            return Verdict.SKIPPED if Verdict.SKIPPED in verdicts else Verdict.ERROR
        return Verdict.PASSED

    def exit_code(self, *, skips_count: bool = False) -> ExitCode:
        """0 all judged checks passed, 1 one failed, 2 the scenario names what the host has not, 125 not judged (also:
        nothing was judged), 130 interrupted."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if any(MISTAKE in judgement.finding.facts for judgement in self.judgements):
            return ExitCode.MISTAKE
        match self.verdict(skips_count=skips_count):
            case Verdict.PASSED:
                return ExitCode.PASSED
            case Verdict.FAILED:
                return ExitCode.FAILED
            case _:
                return ExitCode.NOT_JUDGED


def blame(trouble: GuestTrouble, subject: Collection[str]) -> Finding:
    """A death, hang or splat as a finding: failed where it hit the subject under test, error anywhere else."""
    if trouble.culprit in subject:
        return Finding(Verdict.FAILED, str(trouble))
    tested = ", ".join(sorted(subject))
    return Finding(
        Verdict.ERROR, f"could not judge the {tested}, as something else broke ({trouble.culprit}): {trouble}"
    )
