# SPDX-License-Identifier: GPL-2.0-or-later
"""A run whose guest gets stuck in its rig: once more from the start, and no third time."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from passthru.check.finding import Finding, Verdict
from passthru.deadline import Deadline
from passthru.errors import GuestStuck
from passthru.events import Note
from passthru.image.store import Store
from passthru.run import one_run
from passthru.run.directory import RunDirectory
from passthru.run.handles import Handles
from passthru.run.one_run import After, OneRun
from passthru.run.outcome import Judgement
from passthru.run.what import Request
from passthru.scenario.models import Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from passthru.events import Event
    from passthru.run.outcome import Outcome

PASSED = Judgement("first", "dmesg", Finding(Verdict.PASSED, "well"), 0.1)
STUCK = GuestStuck("the guest spins at 0xffffffff82a18749\n    | its last line")


class Guests:
    """Boots guests whose checks end as they are told to: with an error after a check that passed, or passed."""

    def __init__(self, *ends: Exception | None) -> None:
        self.rest = list(ends)
        self.booted = 0
        self.gone = 0

    @contextlib.asynccontextmanager
    async def boot(self, plan: object, *_: object, **__: object) -> AsyncIterator[tuple[object, Any, Deadline]]:
        self.booted += 1
        guest = SimpleNamespace(kernel_log=SimpleNamespace(splats=()))
        up = SimpleNamespace(rig=None, lines={})
        yield plan, SimpleNamespace(guest=guest, up=up, machine=None, programs=None), Deadline()
        self.gone += 1

    def judging(self, *, judgements: list[Judgement], **_: object) -> Any:
        async def judge_all() -> None:
            judgements.append(PASSED)
            if (end := self.rest.pop(0)) is not None:
                raise end

        return SimpleNamespace(all=judge_all)


def run(
    monkeypatch: pytest.MonkeyPatch, directory: Path, guests: Guests, after: After = After.CHECKS
) -> tuple[Outcome, list[str]]:
    """The outcome of a run with these guests, and what was told meanwhile."""
    monkeypatch.setattr(one_run, "booted", guests.boot)
    monkeypatch.setattr(one_run, "Judging", guests.judging)
    monkeypatch.setattr(one_run, "assigned_devices", lambda *_: {})
    monkeypatch.setattr(one_run, "used", lambda _: {})
    events: list[Event] = []
    scenario = Scenario.model_validate({"name": "s", "subject": ("device",)})
    one = OneRun(Request(scenario), RunDirectory(directory), events.append, Handles())
    one.plan = SimpleNamespace(image=SimpleNamespace(missing={}), tree=None)  # type: ignore[assignment]
    asyncio.run(one.perform(Store(directory / "cache"), after, 1.0))
    return one.record.finish(), [event.text for event in events if isinstance(event, Note)]


def test_the_second_boot_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guests = Guests(STUCK, None)
    outcome, told = run(monkeypatch, tmp_path, guests)
    assert outcome.judgements == (PASSED,)
    assert outcome.exit_code() == 0
    assert told == ["the guest spins at 0xffffffff82a18749; it is booted once more"]
    assert guests.booted == 2


def test_there_is_no_third_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guests = Guests(STUCK, STUCK)
    outcome, told = run(monkeypatch, tmp_path, guests)
    assert (guests.booted, len(told)) == (2, 1)
    assert outcome.exit_code() == 125
    assert outcome.judgements[0] == PASSED
    said = outcome.judgements[-1].finding.summary
    assert said.startswith("could not judge the device, as something else broke (rig): the guest spins at")


def test_what_a_person_does_with_a_guest_is_not_done_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def hand_over(*_: object) -> None:
        raise STUCK

    monkeypatch.setattr(one_run, "hand_over", hand_over)
    guests = Guests()
    outcome, told = run(monkeypatch, tmp_path, guests, After.SHELL)
    assert (guests.booted, told) == (1, [])
    assert outcome.exit_code() == 125


def test_a_guest_that_never_came_up_was_booted_again_already(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Never(Guests):
        @contextlib.asynccontextmanager
        async def boot(self, plan: object, *_: object, **__: object) -> AsyncIterator[tuple[object, Any, Deadline]]:
            self.booted += 1
            raise STUCK
            yield plan, None, Deadline()

    guests = Never()
    outcome, told = run(monkeypatch, tmp_path, guests)
    assert (guests.booted, told) == (1, [])
    assert outcome.exit_code() == 125
