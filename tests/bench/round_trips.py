# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast the Python server answers REGION_READ, against a ping-pong of the same messages in C.

Both are asked by the same C code, both processes of each pair share one CPU, and the two take turns, so that what
else the machine does falls on both. The median of the turns' ratios counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TURNS = 7
ROUND_TRIPS = 40_000
SECONDS = 120


def measure(turns: int = TURNS, round_trips: int = ROUND_TRIPS) -> dict[str, float]:
    """Round trips per second of both (medians) and ``ratio``, server to ping-pong."""
    cpu = min(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="passthru-bench-") as made:
        program = Path(made) / "round_trips"
        socket = Path(made) / "mtty.sock"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, source], check=True, timeout=SECONDS)
        server = subprocess.Popen(
            [sys.executable, "-m", "passthru.emulation", "mtty", "--socket", socket], stdout=subprocess.PIPE
        )
        try:
            assert server.stdout is not None
            if not server.stdout.readline():
                raise RuntimeError("the device server did not start")
            os.sched_setaffinity(server.pid, {cpu})
            pairs = [
                (
                    _rate([program, "pingpong", str(cpu), str(round_trips)]),
                    _rate([program, "client", str(cpu), str(round_trips), socket]),
                )
                for _ in range(turns)
            ]
        finally:
            server.terminate()
            server.wait(timeout=SECONDS)
            if server.stdout:
                server.stdout.close()
    return {
        "c_per_second": statistics.median(c for c, _ in pairs),
        "python_per_second": statistics.median(python for _, python in pairs),
        "ratio": round(statistics.median(python / c for c, python in pairs), 3),
    }


def _rate(command: list[str | Path]) -> float:
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=SECONDS).stdout)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
