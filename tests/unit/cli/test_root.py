# SPDX-License-Identifier: GPL-2.0-or-later
"""Where root's rights are lacking, the sentence ends with the very command that has them."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from passthru.cli.by_hand import root_command, with_way_to_root
from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.unit.cli.conftest import Ended
    from tests.unit.worker.fake_sysfs import Machine


def test_an_installed_command_is_named_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "my bin" / "passthru"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "bind", "00:05.0"])
    assert shlex.split(root_command()) == ["sudo", str(program), "bind", "00:05.0"]


def test_a_module_is_run_by_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(__file__).replace("test_root.py", "__main__.py"), "recover"])
    assert shlex.split(root_command()) == ["sudo", sys.executable, "-m", "passthru", "recover"]


def test_only_for_what_root_could_do(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, hopeless = Unusable("x failed: Permission denied"), Unusable("this host has no IOMMU")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "; to do so: sudo " in str(with_way_to_root(refused))
    assert with_way_to_root(hopeless) is hopeless
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert with_way_to_root(refused) is refused


def test_a_command_that_was_refused_says_it(
    passthru: Callable[..., Ended], on_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (on_machine.root / "run").write_text("no directory: the journal cannot be written, whoever we are")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ended = passthru("bind", "00:05.0")
    assert ended.status == 125, ended
    assert "sudo" in ended.err
    assert ended.err.rstrip().endswith("bind 00:05.0")
