# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast the Python server answers REGION_READ, against a ping-pong of the same messages in C.

Both are asked by the same C code; besides, the server is asked by our own client. Both processes of each pair share
one CPU, and the pairs take turns, so that what else the machine does falls on all. The median of the turns' ratios
counts.
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
    """Round trips per second (medians), ``ratio`` of server and ``client_ratio`` of client and server to ping-pong."""
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
            client = [sys.executable, "-m", "tests.bench.round_trip_client"]
            rates = [
                (
                    _rate([program, "pingpong", str(cpu), str(round_trips)]),
                    _rate([program, "client", str(cpu), str(round_trips), socket]),
                    _rate([*client, str(cpu), str(round_trips), socket]),
                )
                for _ in range(turns)
            ]
        finally:
            server.terminate()
            server.wait(timeout=SECONDS)
            if server.stdout:
                server.stdout.close()
    return {
        "c_per_second": statistics.median(c for c, _, _ in rates),
        "python_per_second": statistics.median(server for _, server, _ in rates),
        "client_per_second": statistics.median(both for _, _, both in rates),
        "ratio": round(statistics.median(server / c for c, server, _ in rates), 3),
        "client_ratio": round(statistics.median(both / c for c, _, both in rates), 3),
    }


def _rate(command: list[str | Path]) -> float:
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=SECONDS).stdout)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
