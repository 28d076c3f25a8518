# SPDX-License-Identifier: GPL-2.0-or-later
"""Several guests at once: what two of them gain on two processors, and what the harness itself takes with eight."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GUESTS = 8
REPEATS = 30


def measure(rounds: int = 3) -> dict[str, float]:
    """``two_at_once_throughput``: the time of four runs one after the other to that of the same two at a time.

    ``memory_mb_with_8_guests``: the largest sum of the memory of the passthru process and its workers (the
    proportional set size of the kernel's smaps_rollup: shared pages are divided among those who share them), in 10^6
    bytes; without the guests' QEMUs and the device servers, which are what is run.
    """
    with tempfile.TemporaryDirectory() as runs:
        turns = [(_seconds(runs, 1), _seconds(runs, 2)) for _ in range(rounds)]
        memory = _memory(runs)
        flakes = _flakes(runs)
    return {
        "flakes_in_30_repeats": flakes,
        "two_at_once_throughput": statistics.median(one / two for one, two in turns),
        "memory_mb_with_8_guests": memory / 1e6,
    }


def _flakes(runs: str) -> float:
    """How many of thirty runs, two at a time, did not pass."""
    told = subprocess.run(_argv(runs, 2, REPEATS), check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return float(REPEATS - told.stdout.count(b"mtty: PASSED"))


def _argv(runs: str, jobs: int, repeat: int) -> list[str]:
    argv = [sys.executable, "-m", "passthru", "run", "mtty", "--runs", runs]
    return [*argv, "-j", str(jobs), "--repeat", str(repeat)]


def _seconds(runs: str, jobs: int) -> float:
    began = time.monotonic()
    subprocess.run(_argv(runs, jobs, 4), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _memory(runs: str) -> float:
    """The largest sum seen, sampled ten times a second until the command ends."""
    largest = 0.0
    process = subprocess.Popen(_argv(runs, GUESTS, GUESTS), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ended = threading.Event()

    def wait() -> None:
        process.wait()
        ended.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not ended.wait(0.1):
        largest = max(largest, _proportional(process.pid) + sum(map(_proportional, _workers(process.pid))))
    waiter.join()
    if process.returncode != 0:
        raise RuntimeError(f"the runs ended with {process.returncode}; see {runs}")
    return largest


def _workers(pid: int) -> list[int]:
    """The direct children of the command: its workers."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _proportional(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    return 0.0


if __name__ == "__main__":
    print(measure(), os.getloadavg())
