# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``passthru`` command on a made machine: its worker is one of tests/unit/worker/fake_sysfs.py."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from passthru.cli import main
from tests.unit.worker.conftest import machine as machine
from tests.unit.worker.fake_sysfs import COMMAND
from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.worker.fake_sysfs import Machine


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


@pytest.fixture
def on_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The made machine, which is this one to whatever starts a worker."""

    def command(module: str, *arguments: str) -> tuple[str, ...]:
        assert module == "passthru.worker"
        return (*COMMAND, *arguments, "--roots", str(machine.root))

    monkeypatch.setattr("passthru.host.local.lean_command", command)
    return machine


@pytest.fixture
def passthru(
    on_machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs a command in this process; signals are as they were afterwards."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["passthru", *words])
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as ended:
            main()
        assert signal.getsignal(signal.SIGINT) is before
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def untouched(on_machine: Machine) -> Callable[[], bool]:
    """Whether the machine is as it was when the test began, and no journal is left."""
    before = snapshot(str(on_machine.root))

    def same() -> bool:
        journals = list((on_machine.root / "run/passthru").glob("worker-*"))
        return snapshot(str(on_machine.root)) == before and not journals

    return same
