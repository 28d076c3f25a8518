# SPDX-License-Identifier: GPL-2.0-or-later
"""Rigs of arm64: from the command to the verdict of a scenario, against a bare boot of the same kernel, by turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from passthru.events import tell_nobody
from passthru.image.guest import floor_image
from passthru.image.store import Store
from passthru.run.plan import plan_run
from passthru.run.what import the_request
from tests.bench.cold_run import bare_boot

HOST_SIDE = str(Path(__file__).with_name("host_side.toml"))
SUITE = "amba-rtc"
"""The same, judged by the conformance suite: 134 tests, of which those of interrupts wait for what must not come."""
WITH_GUEST = "platform-uart"
PLAIN = "console=ttyAMA0 panic=-1"
"""The floor's kernel parameters, as those of ``cold_run.PLAIN``; the first serial line of the board is a pl011."""


def measure(rounds: int = 3) -> dict[str, float]:
    """The figures of runs without a guest, and of one with a guest."""
    figures = against_floor("arm_host", HOST_SIDE, rounds) | against_floor("arm_host_suite", SUITE, rounds)
    return figures | against_floor("arm_guest", WITH_GUEST, rounds)


def against_floor(prefix: str, scenario: str, rounds: int) -> dict[str, float]:
    """Medians: seconds of a run of ``scenario`` and of its parts, and their ratio to a bare boot of the rig's kernel,
    by the same QEMU, processor and board.
    """
    store = Store()
    rig = plan_run(the_request(scenario), store, tell_nobody).rig
    if rig is None:
        raise RuntimeError(f"{scenario} has no rig")
    floor = floor_image(store, tell_nobody, arch=rig.host.arch)
    with tempfile.TemporaryDirectory() as directory:
        runs = Path(directory)
        _run(scenario, runs)
        turns = [
            (
                bare_boot(rig.emulator, rig.kernel, floor, PLAIN, rig.accelerator, rig.board.machine),
                _run(scenario, runs),
            )
            for _ in range(rounds)
        ]
    bare = statistics.median(seconds for seconds, _ in turns)
    run = statistics.median(seconds for _, (seconds, _) in turns)
    phases = {phase for _, (_, parts) in turns for phase in parts}
    return {
        f"{prefix}_floor_seconds": bare,
        f"{prefix}_seconds": run,
        f"{prefix}_to_floor": run / bare,
        **{
            f"{prefix}_{phase}_seconds": statistics.median(parts[phase] for _, (_, parts) in turns)
            for phase in sorted(phases)
        },
    }


def _run(scenario: str, runs: Path) -> tuple[float, dict[str, float]]:
    """Seconds of the command, and of its phases and checks."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "passthru", "run", scenario, "--runs", str(runs)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    events = map(json.loads, (runs / "latest" / "events.jsonl").read_text().splitlines())
    return seconds, {event["phase"]: event["seconds"] for event in events if event["kind"] == "phase-ended"}
