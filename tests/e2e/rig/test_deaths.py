# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker killed, or left by its harness, at every step: on a real kernel's sysfs, all is as before."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.e2e.rig.emulated import TESTS, EmulatedHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONGEST = 200.0
"""Seconds that one transaction may take, stretched by the rig's accelerator."""
MODULES = ("vfio_pci", "vfio_iommu_type1")
MDEV = {"name": "mtty0", "bus": "mdev", "parent": "mtty", "type": "mtty-2", "container": "type1"}


@pytest_asyncio.fixture(loop_scope="session")
async def vfio(rig: EmulatedHost) -> AsyncIterator[None]:
    """VFIO's modules are loaded already: to load and unload them at each step would double the time."""
    async with rig.modules(*MODULES):
        yield


async def judge(rig: EmulatedHost, assignment: dict[str, Any], only: Sequence[int] = (1, 2, 3, 4)) -> None:
    """Run ``kill_tests`` in the rig, all or ``only`` some of them."""
    worker = rig.rig.host.own_command("passthru.worker")
    options = ("--assignments", json.dumps([assignment]), "--only", ",".join(map(str, only)), "--worker", *worker)
    ended = await rig.run("python3", f"{TESTS}/kill_tests.py", *options, seconds=LONGEST)
    printed = ended.stdout.decode(errors="replace")
    assert ended.status == 0, printed
    # Each is told with the number of its steps.
    assert len(re.findall(r"^ok \d+ - .* \([1-9]\d*\)$", printed, re.MULTILINE)) == len(only), printed


def pci(name: str, host: str, **more: Any) -> dict[str, Any]:
    """An assignment as the worker is asked for it."""
    return {"name": name, "bus": "pci", "host": host, "container": "type1", **more}


async def test_an_mdev_with_the_modules_that_it_needs(rig: EmulatedHost) -> None:
    await judge(rig, MDEV)


@pytest.mark.usefixtures("vfio")
async def test_a_device_of_a_driver(rig: EmulatedHost) -> None:
    await judge(rig, pci("serial0", rig.address("serial")))


@pytest.mark.usefixtures("vfio")
async def test_a_virtual_function(rig: EmulatedHost) -> None:
    """It takes the kernel two seconds to remove one. What it has done when a step begins is what it had done when the
    one before had ended, so that dying after each step is enough here."""
    await judge(rig, pci("vf0", rig.address("nic"), vf=0, vfs=1), only=(2, 4))
