# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig: from the command to the verdict of ``mtty-mdev``, its parts, and what the worker in it needs for devices."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import tell_nobody
from passthru.host.devices import MdevAssignment, PciAssignment, prepare, release
from passthru.image.guest import floor_image
from passthru.image.store import Store
from passthru.run.directory import create
from passthru.run.hosts import open_host
from passthru.run.plan import make_plan
from passthru.run.what import the_request
from tests.bench.cold_run import PLAIN, bare_boot

if TYPE_CHECKING:
    from passthru.host import Host
    from passthru.host.devices import Assignment
    from passthru.run.plan import Plan

SCENARIO = "mtty-mdev"
PHASES = ("host", "devices", "attach", "boot", "checks")


def measure(rounds: int = 3, repeats: int = 5) -> dict[str, float]:
    """Medians: seconds of a run and of its parts, their ratio to a bare boot of the guest's kernel, and seconds of one
    bind and unbind, and of one create and remove, as the controlling side waits for them.
    """
    store = Store()
    plan = make_plan(the_request(SCENARIO), store, tell_nobody)
    floor = floor_image(store, tell_nobody)
    with tempfile.TemporaryDirectory() as directory:
        runs = Path(directory)
        _run(runs)
        bare = [bare_boot(plan.rig.emulator if plan.rig else plan.qemu, plan.kernel, floor, PLAIN) for _ in range(3)]
        turns = [_run(runs) for _ in range(rounds)]
        figures = asyncio.run(_devices(make_plan(the_request(SCENARIO, _EDU), store, tell_nobody), runs, repeats))
    figures["mdev_run_seconds"] = statistics.median(seconds for seconds, _ in turns)
    figures["mdev_run_to_floor"] = figures["mdev_run_seconds"] / statistics.median(bare)
    for phase in PHASES:
        figures[f"mdev_run_{phase}_seconds"] = statistics.median(parts[phase] for _, parts in turns)
    return figures


_EDU = ("host.hardware.edu.device=edu",)


def _run(runs: Path) -> tuple[float, dict[str, float]]:
    began = time.monotonic()
    argv = [sys.executable, "-m", "passthru", "run", SCENARIO, "--runs", str(runs)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    events = map(json.loads, (runs / "latest" / "events.jsonl").read_text().splitlines())
    return seconds, {event["phase"]: event["seconds"] for event in events if event["kind"] == "phase-ended"}


async def _devices(plan: Plan, runs: Path, repeats: int) -> dict[str, float]:
    if plan.rig is None:
        raise RuntimeError(f"{SCENARIO} has no rig")
    deadline = Deadline.after(120, scale=plan.accelerator.scale)
    async with open_host(plan, create(runs, "rig"), deadline, tell_nobody) as up:
        edu = PciAssignment("edu", plan.rig.addresses["edu"])
        mtty = MdevAssignment("mtty", "mtty", "mtty-2")
        return {
            "bind_and_unbind_seconds": await _in_and_out(up.host, edu, repeats),
            "create_and_remove_seconds": await _in_and_out(up.host, mtty, repeats),
        }


async def _in_and_out(host: Host, assignment: Assignment, repeats: int) -> float:
    """The first time loads modules and is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.monotonic()
        await prepare(host, assignment)
        failed = await release(host, assignment.name)
        seconds.append(time.monotonic() - began)
        if failed:
            raise RuntimeError("; ".join(failed))
    return statistics.median(seconds[1:])
