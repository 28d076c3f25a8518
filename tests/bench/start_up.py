# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the commands take that do nothing much."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def measure(rounds: int = 9) -> dict[str, float]:
    """Medians in seconds of ``passthru --help`` and ``passthru list``, and of a Python that does nothing."""
    return {
        "python_seconds": _seconds(rounds, "-c", "pass"),
        "help_seconds": _seconds(rounds, "-m", "passthru", "--help"),
        "list_seconds": _seconds(rounds, "-m", "passthru", "list"),
    }


def _seconds(rounds: int, *arguments: str) -> float:
    def once() -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began

    once()
    return statistics.median(once() for _ in range(rounds))
