# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal of steps: on disk before they are done, its owner told by a lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.worker.devices.journal import dead_journals, left_of, make_state, new_journal, others, read_lines
from passthru.worker.devices.ledger import Ledger
from passthru.worker.devices.operations import Operations
from passthru.worker.protocol import RequestError
from tests.unit.worker.fake_sysfs import FakeSystem

if TYPE_CHECKING:
    from tests.unit.worker.fake_sysfs import Machine

STEP = {"kind": "driver_override", "target": "0000:00:05.0", "before": None, "after": "vfio-pci", "owner": "a"}


@pytest.fixture
def system(machine: Machine) -> FakeSystem:
    return FakeSystem(str(machine.root))


def a_dead_pid() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["/bin/true"]) as process:
        return process.pid


def test_a_step_is_there_before_it_is_done_and_the_file_goes_with_the_last(
    machine: Machine, system: FakeSystem
) -> None:
    override = machine.device("0000:00:05.0") / "driver_override"
    seen = []

    def look(number: int) -> None:
        (path,) = Path(system.state).glob("worker-*")
        seen.append((override.read_text().strip(), [step["kind"] for step in left_of(read_lines(str(path)))]))

    ledger = Ledger(FakeSystem(str(machine.root), before=look))
    ledger.do({**STEP, "resource": ""})
    assert seen == [("(null)", ["driver_override"])]
    assert ledger.undo_since(0) == []
    assert seen[1:] == [("vfio-pci", ["driver_override"])]
    assert override.read_text().strip() == "(null)"
    assert list(Path(system.state).iterdir()) == []


def test_a_last_line_that_was_cut_short_announces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "worker-1-a.jsonl"
    path.write_text('{"boot": "x"}\n{"step": 1}\n{"step": 2}\n{"undone": 2}\n{"step": 3, "kin')
    assert left_of(read_lines(str(path))) == [{"step": 1}]


def test_a_file_with_nothing_in_it_is_no_obstacle(machine: Machine, system: FakeSystem) -> None:
    """Its owner died before its first line was written."""
    make_state(system)
    Path(system.state, "worker-1-a.jsonl").touch()
    assert Operations(system).answer({"do": "recover"}) == {"undone": [], "failed": [], "kept": []}
    assert list(Path(system.state).iterdir()) == []


def test_a_living_owner_is_told_by_his_lock(system: FakeSystem) -> None:
    journal = new_journal(system)
    assert list(dead_journals(system)) == []
    journal.close()
    ((dead, lines),) = dead_journals(system)
    assert lines[0]["pid"] == os.getpid()
    dead.close()


def test_recover_waits_for_whoever_just_looks(system: FakeSystem) -> None:
    """A dead owner's journal is not skipped because another worker looks at it at that moment."""
    make_state(system)
    path = Path(system.state, "worker-1-a.jsonl")
    path.write_text(f'{{"boot": "x", "pid": {a_dead_pid()}}}\n')
    looker = os.open(path, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    assert list(dead_journals(system)) == []
    waiting = threading.Thread(target=lambda: Operations(system).answer({"do": "recover"}), daemon=True)
    waiting.start()
    os.close(looker)
    waiting.join(20)
    assert not path.exists()


def test_what_others_have_prepared(system: FakeSystem) -> None:
    make_state(system)
    path = Path(system.state, "worker-4711-a.jsonl")
    path.write_text('{"boot": "x", "pid": 4711}\n{"step": 1, "target": "0000:00:05.0", "owner": "a"}\n')
    assert others(system) == {}  # its owner is dead
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert others(system) == {"0000:00:05.0": 4711}


def test_nothing_is_changed_without_a_journal(machine: Machine, system: FakeSystem) -> None:
    Path(system.state).parent.mkdir(parents=True, exist_ok=True)
    Path(system.state).write_text("in the way")
    with pytest.raises(RequestError, match="nothing is changed without that"):
        Operations(system).answer(
            {"do": "prepare", "assignment": {"name": "a", "bus": "pci", "host": "00:05.0", "container": "type1"}}
        )
    assert machine.driver_of("0000:00:05.0") == "serial"


def test_another_user_s_state_directory_is_not_used(system: FakeSystem, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(system.state).parent.mkdir(parents=True, exist_ok=True)
    Path(system.state).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        make_state(system)
