# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of the ways in which a check can end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check.context import NoGuest
from passthru.check.finding import Finding, Verdict
from passthru.check.options import CheckOptions
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestStuck, GuestTrouble, Unusable
from passthru.events import tell_nobody
from passthru.run import judging
from passthru.scenario.models import Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PASSED = Finding(Verdict.PASSED, "well")


def judged(monkeypatch: pytest.MonkeyPatch, *ends: Finding | Exception, subject: tuple[str, ...] = ("device",)) -> Any:
    """The findings of checks that end like that, one after the other."""
    rest = iter(ends)

    async def judge(context: object, options: object) -> Finding:
        end = next(rest)
        if isinstance(end, Exception):
            raise end
        return end

    return findings(monkeypatch, judge, len(ends), subject)


def findings(
    monkeypatch: pytest.MonkeyPatch, judge: Callable[..., Awaitable[Finding]], count: int, subject: tuple[str, ...]
) -> list[Finding]:
    monkeypatch.setattr(judging, "judge", judge)
    checks = {f"c{number}": CheckOptions(use="dmesg", timeout=0.2) for number in range(count)}
    scenario = Scenario.model_construct(name="s", subject=subject, check=checks, device={})
    work = judging.Judging(
        scenario=scenario,
        guest=None,  # type: ignore[arg-type]
        devices={},
        deadline=Deadline.after(60),
        tell=tell_nobody,
        judgements=[],
    )
    asyncio.run(work.all())
    return [judgement.finding for judgement in work.judgements]


def test_findings_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Finding(Verdict.FAILED, "badly")
    assert judged(monkeypatch, PASSED, failed, PASSED) == [PASSED, failed, PASSED]


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        (DeadlineExceeded("an answer", 1.0), Verdict.FAILED),
        (Unusable("no such thing"), Verdict.ERROR),
        (ZeroDivisionError("of the check"), Verdict.ERROR),
    ],
)
def test_an_error_is_of_its_check_alone(monkeypatch: pytest.MonkeyPatch, end: Exception, verdict: Verdict) -> None:
    first, second = judged(monkeypatch, end, PASSED)
    assert first.verdict is verdict
    assert str(end) in first.summary
    assert second is PASSED


def test_trouble_ends_the_checks_and_is_blamed_by_the_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    for subject, verdict in ((("device",), Verdict.FAILED), (("qemu",), Verdict.ERROR)):
        first, second = judged(monkeypatch, GuestTrouble("device", "it died"), PASSED, subject=subject)
        assert first.verdict is verdict
        assert second.verdict is Verdict.ERROR
        assert "could not judge" in second.summary


def test_a_guest_that_is_stuck_is_for_whoever_can_boot_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GuestStuck, match="it spins"):
        judged(monkeypatch, PASSED, GuestStuck("it spins"), PASSED)


def test_a_check_that_does_not_end_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(context: object, options: object) -> Finding:
        await asyncio.sleep(60)
        return PASSED

    (finding,) = findings(monkeypatch, judge, 1, ("device",))
    assert finding.verdict is Verdict.FAILED
    assert "the check c0" in finding.summary


def test_after_the_host_is_lost_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def judge(context: object, options: object) -> Finding:
        return PASSED

    monkeypatch.setattr(judging, "judge", judge)
    scenario = Scenario.model_construct(
        name="s", subject=("device",), device={}, check={"a": CheckOptions(use="x"), "b": CheckOptions(use="x")}
    )
    words = iter(["", "the host died"])
    work = judging.Judging(
        scenario=scenario,
        guest=NoGuest(),
        devices={},
        deadline=Deadline.after(60),
        tell=tell_nobody,
        judgements=[],
        lost=lambda: next(words),
    )
    asyncio.run(work.all())
    first, second = (judgement.finding for judgement in work.judgements)
    assert (first, second.verdict, second.summary) == (PASSED, Verdict.ERROR, "could not judge: the host died")
