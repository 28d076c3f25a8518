# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker killed, or left by its harness, at every step: on a real kernel's sysfs, all is as before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.rig.emulated import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.rig.emulated import EmulatedHost

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRANSACTIONS: dict[str, Callable[[EmulatedHost], list[dict[str, Any]]]] = {
    "mdevs": lambda rig: [
        {"name": "mtty0", "bus": "mdev", "parent": "mtty", "type": "mtty-2", "container": "type1"},
    ],
    "a device without a driver": lambda rig: [pci("edu0", "1234:11e8")],
    "a device of a driver": lambda rig: [pci("serial0", rig.address("serial"))],
    "a virtual function": lambda rig: [pci("vf1", rig.address("nic"), vf=1, vfs=2)],
}


def pci(name: str, host: str, **more: Any) -> dict[str, Any]:
    """An assignment as the worker is asked for it."""
    return {"name": name, "bus": "pci", "host": host, "container": "type1", **more}


@pytest.mark.parametrize("name", TRANSACTIONS)
async def test_all_is_as_before_after_a_death_at_any_step(rig: EmulatedHost, name: str) -> None:
    assignments = json.dumps(TRANSACTIONS[name](rig))
    worker = rig.rig.host.own_command("passthru.worker")
    ended = await rig.run(
        "python3", f"{TESTS}/kill_tests.py", "--assignments", assignments, "--worker", *worker, seconds=200
    )
    printed = ended.stdout.decode(errors="replace")
    assert ended.status == 0, printed
    assert printed.count("\nok ") + printed.startswith("ok ") == 4, printed
