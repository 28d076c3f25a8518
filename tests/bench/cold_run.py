# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job against the floor: from the command to the verdict of ``mtty``, and a bare boot beside it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from passthru.events import tell_nobody
from passthru.image.guest import floor_image
from passthru.image.store import Store
from passthru.qemu.argv import command_line
from passthru.run.plan import Plan, make_plan
from passthru.run.what import the_request

FIRST_LINE = b"FIRST-LINE"
PLAIN = "console=ttyS0 panic=-1"


def measure(rounds: int = 7) -> dict[str, float]:
    """Medians over ``rounds``, bare boots and a run by turns: seconds, their ratio, and shares of the run.

    The floor is a bare boot with no kernel parameters but the console. ``tuned_floor`` has those that a run of passthru
    has too, which are chosen for a quick and sound boot. The cache is warm: everything is fetched and built before the
    first round.
    """
    store = Store()
    plan = make_plan(the_request("mtty"), store, tell_nobody)
    floor = floor_image(store, tell_nobody)
    with tempfile.TemporaryDirectory() as runs:
        _run(Path(runs))
        words = command_line(*plan.accelerator.kernel_words)
        turns = [
            (_bare_boot(plan, floor, PLAIN), _bare_boot(plan, floor, words), _run(Path(runs))) for _ in range(rounds)
        ]
    bare = statistics.median(seconds for seconds, _, _ in turns)
    tuned = statistics.median(seconds for _, seconds, _ in turns)
    run = statistics.median(seconds for _, _, (seconds, _) in turns)
    return {
        "floor_seconds": bare,
        "tuned_floor_seconds": tuned,
        "run_to_tuned_floor": run / tuned,
        "run_seconds": run,
        "run_to_floor": run / bare,
        "harness_cpu_share": statistics.median(cpu / seconds for _, _, (seconds, cpu) in turns),
    }


def _bare_boot(plan: Plan, initrd: Path, cmdline: str) -> float:
    """Seconds from starting QEMU to the first line of /init, with nothing but the kernel and a serial line."""
    argv = [
        *plan.qemu.command,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "pc", "-m", "256M"),
        *plan.accelerator.args,
        *("-kernel", str(plan.kernel.image), "-initrd", str(initrd), "-append", cmdline),
        *("-serial", "stdio"),
    ]
    began = time.monotonic()
    with subprocess.Popen(
        argv, env={**os.environ, **plan.qemu.env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as qemu:
        assert qemu.stdout is not None
        for line in qemu.stdout:
            if FIRST_LINE in line:
                break
        else:
            raise RuntimeError("the bare guest ended without its first line")
        seconds = time.monotonic() - began
        qemu.kill()
    return seconds


def _run(runs: Path) -> tuple[float, float]:
    """Seconds of wall time of the command, and seconds of processor time of it and all it started except QEMU."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "passthru", "run", "mtty", "--runs", str(runs)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status != 0:
        raise RuntimeError(f"the run ended with wait status {status}; see {runs}")
    events = map(json.loads, (runs / "latest" / "events.jsonl").read_text().splitlines())
    qemu = sum(event["cpu"] for event in events if event["kind"] == "child-exited" and event["name"] == "qemu")
    return seconds, usage.ru_utime + usage.ru_stime - qemu
