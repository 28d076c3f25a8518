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
from typing import TYPE_CHECKING

from passthru.events import tell_nobody
from passthru.image.guest import floor_image
from passthru.image.store import Store
from passthru.qemu.accelerator import Accelerator, tcg
from passthru.qemu.argv import command_line
from passthru.run.plan import make_plan
from passthru.run.what import the_request

if TYPE_CHECKING:
    from passthru.image.kernel import Kernel
    from passthru.qemu.binary import Qemu

FIRST_LINE = b"FIRST-LINE"
TCG = tcg()
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
            (
                bare_boot(plan.qemu, plan.kernel, floor, PLAIN, plan.accelerator),
                bare_boot(plan.qemu, plan.kernel, floor, words, plan.accelerator),
                _run(Path(runs)),
            )
            for _ in range(rounds)
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


def bare_boot(
    emulator: Qemu, kernel: Kernel, initrd: Path, cmdline: str, accelerator: Accelerator = TCG, machine: str = "pc"
) -> float:
    """Seconds from starting QEMU to the first line of /init, with nothing but the kernel and a serial line."""
    argv = [
        *emulator.command,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", machine, "-m", "256M"),
        *accelerator.args,
        *("-kernel", str(kernel.image), "-initrd", str(initrd), "-append", cmdline),
        *("-serial", "stdio"),
    ]
    began = time.monotonic()
    with subprocess.Popen(
        argv, env={**os.environ, **emulator.env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
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
