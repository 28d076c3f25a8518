# SPDX-License-Identifier: GPL-2.0-or-later
"""How much fuzzing there is.

PASSTHRU_FUZZ=N makes it N times as many examples, and other ones each time; without it they are few and always the
same: a few seconds in all. For some minutes of it:

    PASSTHRU_FUZZ=100 pytest tests/unit/emulation/hostile

The counts at the end of pytest's output tell what was done.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("PASSTHRU_FUZZ", "0"))


def fuzzing(examples: int = 60) -> settings:
    """For tests with `given`: that many examples, times what is asked for."""
    return settings(
        max_examples=examples * max(TIMES, 1),
        derandomize=not TIMES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
