# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts and exit codes, as the design promises them."""

from __future__ import annotations

import pytest

from passthru.check.finding import Finding, Verdict
from passthru.errors import GuestTrouble
from passthru.run.outcome import MISTAKE, ExitCode, Judgement, Outcome, blame, worst

P, F, S, E = Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED, Verdict.ERROR


def outcome(*verdicts: Verdict, interrupted: bool = False) -> Outcome:
    found = tuple(Judgement(f"c{n}", "x", Finding(verdict, ""), 0.0) for n, verdict in enumerate(verdicts))
    return Outcome("s", found, interrupted=interrupted)


@pytest.mark.parametrize(
    ("verdicts", "code", "strict"),
    [
        ((P, P), 0, 0),
        ((P, S), 0, 125),
        ((P, F), 1, 1),
        ((F, E), 1, 1),
        ((F, S), 1, 1),
        ((P, E), 125, 125),
        ((S, S), 125, 125),
        ((), 125, 125),
    ],
)
def test_exit_code(verdicts: tuple[Verdict, ...], code: int, strict: int) -> None:
    assert outcome(*verdicts).exit_code() == code
    assert outcome(*verdicts).exit_code(skips_count=True) == strict


def test_an_interrupted_run_is_130_whatever_it_had_found() -> None:
    assert outcome(F, interrupted=True).exit_code() == 130


def test_a_mistake_that_only_the_host_showed_is_2() -> None:
    found = Judgement("run", "run", Finding(E, "there is no such device", facts={MISTAKE: True}), 0.0)
    assert Outcome("s", (found,)).exit_code() == 2
    assert Outcome("s", (found,), interrupted=True).exit_code() == 130


@pytest.mark.parametrize(
    ("codes", "counts"),
    [((0, 125, 1), 1), ((0, 125), 125), ((2, 1, 125), 2), ((130, 2, 1), 130), ((0, 0), 0), ((), 0)],
)
def test_of_several_codes_the_earliest_of_the_precedence_counts(codes: tuple[int, ...], counts: int) -> None:
    assert worst(ExitCode(code) for code in codes) == counts


@pytest.mark.parametrize(("subject", "verdict"), [({"device"}, F), ({"device", "qemu"}, F), ({"guest-kernel"}, E)])
def test_trouble_is_a_failure_of_the_subject_and_an_error_of_anything_else(subject: set[str], verdict: Verdict) -> None:
    finding = blame(GuestTrouble("device", "the device server died"), subject)
    assert finding.verdict is verdict
    assert "the device server died" in finding.summary
