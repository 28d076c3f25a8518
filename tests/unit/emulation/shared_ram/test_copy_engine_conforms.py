# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance suite finds nothing wrong with the copy engine over vfio-user, and a defect where there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import passthru.vfio.stubs.copy_engine as stub_module
from passthru.vfio.stubs.catalogue import stub_for
from passthru.vfio.stubs.copy_engine import CopyEngine
from passthru.vfio.stubs.stub import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60.0
OURS = ("device-*", "*-real-interrupt*", "automasked-*", "a-reset-*")
"""Tests that a stub is needed for, and that of resets."""


@contextmanager
def served(path: Path, defect: str) -> Iterator[None]:
    """A copy engine that listens at ``path``."""
    options = json.dumps({"defect": defect})
    argv = [sys.executable, "-m", "passthru.emulation", "copy-engine", "--options", options, "--socket", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and "listens on" in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(SECONDS)


def judged(path: Path, *only: str) -> dict[str, str]:
    """The verdicts of the suite's tests by name."""
    stub = f"{stub_module.__file__}:CopyEngine"
    target = json.dumps({"transport": "vfio-user", "socket": str(path)})
    argv = [sys.executable, "-m", "passthru.vfio.conform", "--target", target, "--stub", stub]
    for pattern in only:
        argv += ["--only", pattern]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    return {event["test"]: event["verdict"] for event in events if event["event"] == "ended"}


def test_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    with served(tmp_path / "socket", "none"):
        verdicts = judged(tmp_path / "socket", *OURS)
    assert len([name for name, verdict in verdicts.items() if verdict == "passed"]) >= 12
    assert "failed" not in verdicts.values() and "error" not in verdicts.values(), verdicts


@pytest.mark.parametrize(
    ("defect", "test"),
    [
        ("wrong-byte", "device-copies-across-pages"),
        ("page-wrap", "device-copies-across-pages"),
        ("silent-fault", "device-reads-nothing-that-is-not-mapped"),
        ("lost-interrupt", "a-real-interrupt-comes"),
    ],
)
def test_a_defect_is_found(tmp_path: Path, defect: str, test: str) -> None:
    with served(tmp_path / "socket", defect):
        assert judged(tmp_path / "socket", test) == {test: "failed"}


def test_the_stub_is_known_by_what_its_node_is_compatible_with() -> None:
    assert stub_for(Identity("platform", compatible=("passthru,copy-engine",))) is CopyEngine
    assert stub_for(Identity("platform", name="7fc00000.copy-engine")) is None
