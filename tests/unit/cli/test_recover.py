# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru recover`` after a worker was killed; and Ctrl-C in the middle of a change by hand."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.worker.fake_sysfs import COMMAND
from tests.unit.worker.kill_tests import Harness, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.conftest import Ended
    from tests.unit.worker.fake_sysfs import Machine

SERIAL = "0000:00:05.0"
SECONDS = 30.0

# The command with a worker of a made machine, which stops itself at a step.
STOPPING = """
import sys
import passthru.host.local
from passthru.cli import main
worker = sys.argv.pop(1).split("\\n")
passthru.host.local.lean_command = lambda module, *words: (*worker, *words)
main()
"""


def killed(machine: Machine) -> None:
    """A worker that was killed once the device had lost its driver and got an override."""
    worker = Harness(COMMAND, "--roots", str(machine.root), "--stop-after", "4")
    assignment = {"name": "serial0", "bus": "pci", "host": SERIAL, "container": "type1"}
    try:
        with pytest.raises(WorkerDied):
            worker.ask("prepare", assignment=assignment)
    finally:
        assert worker.hang_up() == -signal.SIGKILL
    assert machine.driver_of(SERIAL) != "serial"


def test_what_a_killed_worker_left_is_undone_once(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    killed(on_machine)
    ended = passthru("recover")
    assert ended.status == 0, ended
    assert f"undone: unbinding {SERIAL} from serial" in ended.out
    assert untouched()
    ended = passthru("recover")
    assert (ended.status, "nothing to recover" in ended.out) == (0, True)


def test_what_cannot_be_undone_is_told_and_tried_again(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    killed(on_machine)
    away = (on_machine.sys / "bus/pci/drivers/serial").rename(on_machine.root / "away")
    ended = passthru("recover")
    assert ended.status == 125, ended
    assert "there is no driver serial any more" in ended.err
    away.rename(on_machine.sys / "bus/pci/drivers/serial")
    assert passthru("recover").status == 0
    assert untouched()


def test_an_interruption_comes_after_the_change_and_tells_of_it(on_machine: Machine) -> None:
    worker = (*COMMAND, "--roots", str(on_machine.root), "--stop-before", "3", "--stop-with", str(int(signal.SIGSTOP)))
    with subprocess.Popen(
        [sys.executable, "-c", STOPPING, "\n".join(worker), "bind", SERIAL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell is started with it ignored, and so would the command be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as command:
        try:
            child = _stopped_child(command.pid)
            command.send_signal(signal.SIGINT)
            assert not _ends(command, 0.5)  # the worker holds half of a change
            os.kill(child, signal.SIGCONT)
            said, _ = command.communicate(timeout=SECONDS)
        finally:
            command.kill()
    assert f"{SERIAL} is bound to vfio-pci" in said
    assert command.returncode == 130
    assert on_machine.driver_of(SERIAL) == "vfio-pci"


def _stopped_child(parent: int) -> int:
    """The process id of the only child, once it has stopped itself."""
    poll = select.poll()  # nothing registered: a pause between two looks at another process's child
    for _ in range(int(SECONDS * 100)):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return int(child)
        poll.poll(10)
    raise AssertionError("the worker did not stop itself")


def _ends(process: subprocess.Popen[str], seconds: float) -> bool:
    pidfd = os.pidfd_open(process.pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)
