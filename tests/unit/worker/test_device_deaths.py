# SPDX-License-Identifier: GPL-2.0-or-later
"""Killed at every step: afterwards drivers, overrides, mdevs, virtual functions and modules are as before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.worker import fake_sysfs, kill_tests

if TYPE_CHECKING:
    from tests.unit.worker.fake_sysfs import Machine
    from tests.unit.worker.kill_tests import Act, Harness

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


def pci(name: str, host: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "bus": "pci", "host": host, "container": "type1", **more}


def mdev(name: str, kind: str = "mtty-2", uuid: str | None = None) -> dict[str, Any]:
    return {"name": name, "bus": "mdev", "parent": "mtty", "type": kind, "uuid": uuid, "container": "type1"}


TRANSACTIONS = {
    "a group behind a bridge": [pci("card0", "00:07.0/01.0"), pci("card1", "00:07.0/02.1")],
    "two functions of a card": [pci("vf0", "00:08.0", vf=0, vfs=2), pci("vf1", "00:08.0", vf=1)],
    "all sorts": [pci("serial0", "00:05.0"), mdev("mtty0", uuid=UUID), pci("edu0", "1234:11e8")],
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", TRANSACTIONS)
class TestAWorker:
    def test_that_is_killed_at_a_step_is_recovered(self, machine: Machine, name: str, when: str) -> None:
        act = kill_tests.prepare_and_release(TRANSACTIONS[name])
        steps = list(kill_tests.killed(fake_sysfs.COMMAND, str(machine.root), act, when))
        assert len(steps) >= 4  # a step and a module's loading, done and undone

    def test_whose_stream_ends_at_a_step_undoes_all_at_once(self, machine: Machine, name: str, when: str) -> None:
        act = kill_tests.prepare_and_release(TRANSACTIONS[name])
        assert len(list(kill_tests.hung_up(fake_sysfs.COMMAND, str(machine.root), act, when))) >= 4


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_binding_by_hand_is_whole_or_not_at_all(machine: Machine, when: str) -> None:
    """Killed while it is made, it is recovered; killed while it is undone, it is undone by the next try."""
    before = kill_tests.snapshot(str(machine.root))
    bound = False

    def bind(worker: Harness) -> None:
        nonlocal bound
        worker.ask("bind", host="00:07.0/01.0", driver="vfio-pci")
        bound = True
        worker.ask("unbind", host="0000:01:01.0")

    def act(worker: Harness) -> None:
        try:
            bind(worker)
        except kill_tests.WorkerDied:
            if bound:
                again = kill_tests.Harness(fake_sysfs.COMMAND, "--roots", str(machine.root))
                again.ask("unbind", host="0000:01:01.0")
                assert again.hang_up() == 0
            raise

    checked: Act = act
    assert len(list(kill_tests.killed(fake_sysfs.COMMAND, str(machine.root), checked, when))) >= 10
    assert kill_tests.snapshot(str(machine.root)) == before


def test_the_made_machine_is_what_the_tests_change(machine: Machine) -> None:
    """The snapshot sees what is prepared: else nothing above would be judged."""
    before = kill_tests.snapshot(str(machine.root))
    worker = kill_tests.Harness(fake_sysfs.COMMAND, "--roots", str(machine.root))
    for assignment in TRANSACTIONS["all sorts"]:
        worker.ask("prepare", assignment=assignment)
    during = kill_tests.snapshot(str(machine.root))
    assert worker.hang_up() == 0
    assert {key for key in before if before[key] != during[key]} == {
        "0000:00:05.0",
        "0000:00:06.0",
        "mdevs",
        "modules",
    }
    assert kill_tests.snapshot(str(machine.root)) == before
    assert Path(machine.root, "run/passthru").is_dir()
