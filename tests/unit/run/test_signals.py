# SPDX-License-Identifier: GPL-2.0-or-later
"""Interruption by signals."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from passthru.image.store import Store
from passthru.report.run_directory import reports_in
from passthru.run import runner
from passthru.run.signals import SIGNALS, interruptible, run_async
from passthru.run.what import Request
from passthru.scenario.models import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.run.directory import RunDirectory


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_cancels_what_runs_and_its_clean_up_is_done(number: signal.Signals) -> None:
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            cleaned.append(number)

    with pytest.raises(KeyboardInterrupt), interruptible():
        run_async(work())
    assert cleaned == [number]


def test_outside_of_the_loop_it_is_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_interruption_before_the_first_run_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an outcome there would be nothing to tell of it, and the exit code of nothing is 0."""

    def interrupted(*_: object) -> RunDirectory:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "create", interrupted)
    scenario = Scenario.model_construct(name="s")
    with pytest.raises(KeyboardInterrupt):
        runner.Runner(tmp_path, reports_in, store=Store(tmp_path / "cache")).run([Request(scenario)])
