# SPDX-License-Identifier: GPL-2.0-or-later
"""``host.kind = "local"`` for real: passthru, installed inside a rig, assigns the devices of that machine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from passthru.image.store import Store
from tests.e2e.rig.brought import Brought, installed
from tests.e2e.rig.local import RUN, Local, install
from tests.unit.worker.kill_tests import assert_same

if TYPE_CHECKING:
    from tests.e2e.rig.emulated import EmulatedHost

pytestmark = pytest.mark.asyncio(loop_scope="session")

EDU = "0000:00:05.0"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The wheel of this checkout, for the rig's Python."""
    return installed(Store(), tmp_path_factory.mktemp("installed"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def passthru(rig: EmulatedHost, brought: Brought, package: bytes) -> Local:
    """The command in the rig."""
    return await install(rig, brought, package)


def assert_assigned(before: dict[str, object], now: dict[str, object]) -> None:
    """The devices of the scenario, and nothing else, are in other hands than before."""
    edu = now[EDU]
    assert isinstance(edu, dict)
    assert (edu["driver"], edu["driver_override"]) == ("vfio-pci", "vfio-pci")
    assert isinstance(now["mdevs"], list)
    assert len(now["mdevs"]) == 1
    changed = {key for key in before if before[key] != now[key]}
    assert changed - {"modules", "journals"} == {EDU, "mdevs"}


async def test_devices_are_assigned_judged_and_given_back(passthru: Local) -> None:
    before = await passthru.rig.snapshot()
    ended = await passthru(*RUN)
    printed = ended.stdout.decode()
    assert ended.status == 0, printed
    assert "KVM (a short guest ran under KVM)" in printed
    assert "PASSED (7 passed)" in printed
    assert [device["name"] for device in await passthru.events("device-prepared")] == ["mtty0", "edu0"]
    assert_same(before, await passthru.rig.snapshot(), "the run has ended")


async def test_all_is_as_before_as_soon_as_a_killed_run_has_gone(passthru: Local) -> None:
    """SIGKILL of the harness: its worker hears its stream end, and needs nobody."""
    before = await passthru.rig.snapshot()
    run = await passthru.held()
    assert_assigned(before, await passthru.rig.snapshot())
    (worker,) = await passthru.events("worker-started")
    await run.signal(signal.SIGKILL)
    await passthru.rig.wait_for_end(worker["pid"])
    assert_same(before, await passthru.rig.snapshot(), "its harness was killed")
    assert await passthru.rig.processes("qemu") == []


async def test_what_a_killed_worker_left_is_recovered(passthru: Local) -> None:
    """SIGKILL of the worker: the run ends, judges nothing, and says what to do."""
    before = await passthru.rig.snapshot()
    run = await passthru.held()
    (worker,) = await passthru.events("worker-started")
    await passthru.rig.succeed("kill", "-KILL", str(worker["pid"]))
    ended = await run.wait(passthru.rig.deadline())
    printed = passthru.rig.output(run)
    assert ended.code == 125, printed
    assert "was killed by SIGKILL" in printed
    assert await passthru.rig.processes("qemu") == []
    left = await passthru.rig.snapshot()
    assert_assigned(before, left)
    assert left["journals"] != []
    recovered = await passthru("recover")
    assert recovered.status == 0, recovered.stdout.decode()
    assert_same(before, await passthru.rig.snapshot(), "what it left was recovered")
