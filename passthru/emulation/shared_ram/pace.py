# SPDX-License-Identifier: GPL-2.0-or-later
"""How long to wait between two looks at the doorbells: hardly while a driver is at work, longer and longer when not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK_SECONDS = 50e-6
"""Between looks while something happens; the system adds as much again to so short a wait."""
LINGER_SECONDS = 0.02
"""For so long after something happened: a driver's next command follows the answer to the last one."""
IDLE_SECONDS = 0.001
"""Between looks when nothing happens: the longest that a driver waits for the first answer, and what idleness costs."""
_GROWTH = 1.2


class Pace:
    """Adaptive waits, up to ``idle`` seconds; ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, idle: float = IDLE_SECONDS) -> None:
        self._clock = clock
        self._idle = idle
        self._quick_until = clock() + LINGER_SECONDS
        self._wait = QUICK_SECONDS

    def after(self, *, busy: bool) -> float:
        """Seconds until the next look, after one that found something to do or did not."""
        now = self._clock()
        if busy:
            self._quick_until = now + LINGER_SECONDS
        if now < self._quick_until:
            self._wait = QUICK_SECONDS
        else:
            self._wait = min(self._wait * _GROWTH, self._idle)
        return self._wait
