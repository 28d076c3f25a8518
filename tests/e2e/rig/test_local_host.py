# SPDX-License-Identifier: GPL-2.0-or-later
"""``host.kind = "local"`` for real: passthru, installed inside a rig, assigns the devices of that machine."""

from __future__ import annotations

import re
import signal

import pytest

from tests.e2e.rig.local import HELD, RUN, Local
from tests.unit.worker.kill_tests import assert_same

pytestmark = pytest.mark.asyncio(loop_scope="session")

EDU = "0000:00:05.0"


def assert_assigned(before: dict[str, object], now: dict[str, object]) -> None:
    """The devices of the scenario, and nothing else, are in other hands than before."""
    edu = now[EDU]
    assert isinstance(edu, dict)
    assert (edu["driver"], edu["driver_override"]) == ("vfio-pci", "vfio-pci")
    assert isinstance(now["mdevs"], list)
    assert len(now["mdevs"]) == 1
    changed = {key for key in before if before[key] != now[key]}
    assert changed - {"modules", "journals"} == {EDU, "mdevs"}


async def test_devices_are_assigned_judged_and_given_back(inside: Local) -> None:
    before = await inside.rig.snapshot()
    ended = await inside(*RUN)
    printed = ended.stdout.decode()
    assert ended.status == 0, printed
    assert "KVM (a short guest ran under KVM)" in printed
    assert "PASSED (7 passed)" in printed
    assert [device["name"] for device in await inside.events("device-prepared")] == ["mtty0", "edu0"]
    assert_same(before, await inside.rig.snapshot(), "the run has ended")


async def test_doctor_sees_the_devices(inside: Local) -> None:
    """It finds nothing in the way of either, and nothing missing but what a rig has no use for."""
    told = (await inside("doctor", *HELD[1:])).stdout.decode()
    assert re.search(r"^ready +device mtty0 +a mtty-2 of mtty can be assigned$", told, re.MULTILINE), told
    assert re.search(r"^ready +device edu0 +1234:11e8 can be assigned$", told, re.MULTILINE), told
    assert re.findall(r"^missing +(\S+)", told, re.MULTILINE) == ["packages"], told


async def test_all_is_as_before_as_soon_as_a_killed_run_has_gone(inside: Local) -> None:
    """SIGKILL of the harness: its worker hears its stream end, and needs nobody."""
    before = await inside.rig.snapshot()
    run = await inside.held()
    assert len(await inside.rig.processes("qemu")) == 1
    assert_assigned(before, await inside.rig.snapshot())
    worker = (await inside.events("worker-started"))[-1]  # an earlier one was of a guest that KVM let down
    await run.signal(signal.SIGKILL)
    await inside.rig.wait_for_end(worker["pid"])
    assert_same(before, await inside.rig.snapshot(), "its harness was killed")
    assert await inside.rig.processes("qemu") == []


async def test_what_a_killed_worker_left_is_recovered(inside: Local) -> None:
    """SIGKILL of the worker: the run ends, judges nothing, and says what to do."""
    before = await inside.rig.snapshot()
    run = await inside.held()
    worker = (await inside.events("worker-started"))[-1]  # an earlier one was of a guest that KVM let down
    await inside.rig.succeed("kill", "-KILL", str(worker["pid"]))
    ended = await run.wait(inside.rig.deadline())
    printed = inside.rig.output(run)
    assert ended.code == 125, printed
    assert "was killed by SIGKILL" in printed
    assert "`passthru recover`" in printed
    assert await inside.rig.processes("qemu") == []
    left = await inside.rig.snapshot()
    assert_assigned(before, left)
    assert left["journals"] != []
    recovered = await inside("recover")
    assert recovered.status == 0, recovered.stdout.decode()
    assert_same(before, await inside.rig.snapshot(), "what it left was recovered")
