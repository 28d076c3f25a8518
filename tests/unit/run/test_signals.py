# SPDX-License-Identifier: GPL-2.0-or-later
"""Interruption by signals."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from passthru.run.signals import SIGNALS, interruptible, run_async


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
