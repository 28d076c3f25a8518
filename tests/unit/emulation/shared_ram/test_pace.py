# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks come quickly while something happens, and seldom when nothing does."""

from __future__ import annotations

from passthru.emulation.shared_ram.pace import IDLE_SECONDS, LINGER_SECONDS, QUICK_SECONDS, Pace


def test_waits_grow_and_shrink() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert pace.after(busy=False) == QUICK_SECONDS
    now[0] += 2 * LINGER_SECONDS
    waits = [pace.after(busy=False) for _ in range(50)]
    assert waits == sorted(waits)
    assert QUICK_SECONDS < waits[0] < waits[-1] == IDLE_SECONDS
    assert pace.after(busy=True) == QUICK_SECONDS
    now[0] += LINGER_SECONDS / 2
    assert pace.after(busy=False) == QUICK_SECONDS
