# SPDX-License-Identifier: GPL-2.0-or-later
"""AMBA and platform devices and DPAA2 containers of real arm64 kernels change hands, and come back, whatever dies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import UserMistake
from passthru.events import tell_nobody
from passthru.host.devices import (
    OnChipAssignment,
    add_object,
    bind,
    preflight,
    prepare,
    release,
    remove_object,
    unbind,
)
from passthru.image.store import Store
from passthru.run.assignments import assignments
from passthru.run.conform.plan import ConformPlan
from passthru.run.directory import create
from passthru.run.host_hand import HostPrograms
from passthru.run.hosts import open_host
from passthru.run.pins import Pins
from passthru.run.rig_plan import plan_rig
from passthru.scenario.loading import load
from tests.unit.worker import kill_tests

if TYPE_CHECKING:
    from passthru.run.hosts import HostUp

BOOT_SECONDS, DEATH_SECONDS = 120.0, 300.0
HOST = '[host]\nkind = "rig"\narch = "arm64"\nkernel = "debian:{}"\n'
CLOCK = """
modules = ["vfio-amba", "vfio-reset-stub"]
unsafe_interrupts = true
[host.hardware.clock]
device = "pl031"
[device.dut]
bus = "amba"
host = "clock"
"""
WITHOUT_RESET = """
iommu = "ram-smmuv2"
modules = ["vfio-platform"]
[host.hardware.copy]
model = "copy-engine"
[device.dut]
bus = "platform"
host = "copy"
reset_required = false
"""
CONTAINER = """
iommu = "ram-smmuv2"
[host.hardware.complex]
model = "management-complex"
options = { plugged = true, root = "dpmcp.1 dpbp.9" }
[device.dut]
bus = "fsl-mc"
host = "dprc.2"
"""
OLD, NEW = "bookworm", "bookworm-backports"


@pytest.mark.parametrize(
    ("suite", "text", "driver"),
    [
        # A kernel each: the scenarios take every bus on both.
        pytest.param(OLD, CLOCK, "rtc-pl031", id="amba-6.1"),
        pytest.param(NEW, WITHOUT_RESET, None, id="platform-6.12"),
        pytest.param(NEW, CONTAINER, "fsl_mc_dprc", id="fsl-mc-6.12"),
    ],
)
def test_it_changes_hands_and_comes_back(suite: str, text: str, driver: str | None, tmp_path: Path) -> None:
    """Prepared and released, bound by hand and unbound; then with a worker that is killed at every step."""
    file = tmp_path / "s.toml"
    file.write_text(HOST.format(suite) + text)
    scenario = load(file)
    plan = ConformPlan(scenario, plan_rig(scenario, None, {}, Store(), tell_nobody, Pins()))
    assert plan.rig is not None
    (wanted,) = assignments(scenario, plan.rig.addresses)
    assert isinstance(wanted, OnChipAssignment)
    scale = plan.rig.accelerator.scale

    async def judge() -> None:
        directory = create(tmp_path / "runs", scenario.name)
        async with open_host(
            plan, directory, Deadline.after(BOOT_SECONDS + DEATH_SECONDS, scale=scale), tell_nobody
        ) as up:
            programs = HostPrograms(up.host, directory.path, {})
            await _changes_hands(up, programs, wanted, driver)
            if wanted.bus == "fsl-mc":
                await _contents(up, programs, wanted)
            await _deaths(up, programs, wanted, scale)
            assert up.rig is not None
            assert up.rig.kernel_log.splats == []

    asyncio.run(judge())


async def _changes_hands(up: HostUp, programs: HostPrograms, wanted: OnChipAssignment, driver: str | None) -> None:
    found = await preflight(up.host, [wanted], 0, "rig")
    assert found.blockers == ()
    before = await _look(programs)
    made = await prepare(up.host, wanted)
    during = await _look(programs)
    assert (made.bus, made.driver) == (wanted.bus, driver)
    assert made.group is not None
    vfio = f"vfio-{wanted.bus}"
    assert {during[f"{wanted.bus} {name}"]["driver"] for name in made.devices} == {vfio}
    objects = [name for name in made.devices if name != made.address]
    assert len(objects) == (5 if wanted.bus == "fsl-mc" else 0)
    assert await release(up.host, made.name) == ()
    after = await _look(programs)
    assert _drivers(after) == _drivers(before)
    bound = await bind(up.host, f"{wanted.bus}:{wanted.host}")
    assert (bound.driver, bound.before, bound.group) == (vfio, driver, made.group)
    assert (await unbind(up.host, bound.address)).driver == driver
    assert _drivers(await _look(programs)) == _drivers(before)


async def _contents(up: HostUp, programs: HostPrograms, wanted: OnChipAssignment) -> None:
    """Objects come into the container and go out of it, but not while it is held."""
    before = await _look(programs)
    assert await add_object(up.host, "dpbp.9", wanted.host) == "dprc.1"
    made = await prepare(up.host, wanted)
    assert {"dpbp.1", "dpbp.9"} <= set(made.devices)
    with pytest.raises(UserMistake, match="is held by a guest"):
        await remove_object(up.host, "dpbp.9", wanted.host)
    assert await release(up.host, made.name) == ()
    assert await remove_object(up.host, "dpbp.9", wanted.host) == "dprc.1"
    after = await _look(programs)
    moved = "fsl-mc dpbp.9"  # which is unplugged now
    assert {name: found for name, found in _drivers(after).items() if name != moved} == {
        name: found for name, found in _drivers(before).items() if name != moved
    }
    assert after[moved]["driver"] is None


def _drivers(snapshot: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
    """Of all devices: modules stay until the worker ends."""
    return {name: found for name, found in snapshot.items() if " " in name}


async def _look(programs: HostPrograms) -> dict[str, dict[str, str | None]]:
    script = Path(kill_tests.__file__).read_text().partition("\ndef main()")[0] + "\nprint(json.dumps(snapshot('')))"
    ended = await programs.run(["python3", "-I", "-c", script], env={}, deadline=Deadline.after(60))
    found: dict[str, dict[str, str | None]] = json.loads(ended.stdout)
    return found


async def _deaths(up: HostUp, programs: HostPrograms, wanted: OnChipAssignment, scale: float) -> None:
    words = ["--assignments", json.dumps([wanted.request()]), "--worker", *up.host.own_command("passthru.worker")]
    script = Path(kill_tests.__file__).read_text()
    deadline = Deadline.after(DEATH_SECONDS, scale=scale)
    ended = await programs.run(["python3", "-c", script, *words], env={}, deadline=deadline)
    printed = ended.stdout.decode(errors="replace")
    assert ended.status == 0, printed
    assert printed.count("\nok ") == 4, printed
