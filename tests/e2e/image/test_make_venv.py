# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual environment is made from nothing, repaired after a kill, and left alone when it is whole."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SECONDS = 600.0
CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPT = CHECKOUT / "ci/make_venv.py"


def base_python() -> str:
    """The Python that this environment was made with."""
    names = [f"python{sys.version_info.major}.{sys.version_info.minor}", "python3"]
    folders = [sys.base_prefix + "/bin", sysconfig.get_config_var("BINDIR") or "/usr/bin"]
    return next(found for folder in folders for name in names if (found := shutil.which(name, path=folder)))


def start(directory: Path) -> subprocess.Popen[str]:
    """Start making an environment; what it tells comes on its stderr."""
    argv = [base_python(), str(SCRIPT), "--directory", str(directory)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/")


def end(process: subprocess.Popen[str]) -> str:
    """All that it told; it must end well."""
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, told
    return told


@pytest.mark.skipif(not SCRIPT.is_file(), reason="this is no checkout")
def test_killed_repaired_and_left_alone(tmp_path: Path) -> None:
    """A kill in the middle leaves what the next run makes anew; two at once do it once; then nothing is left to do."""
    directory = tmp_path / "venv"
    victim = start(directory)
    assert victim.stderr
    while "installing" not in (line := victim.stderr.readline()):
        assert line, "it ended before it installed anything"
    victim.kill()
    victim.communicate(timeout=SECONDS)
    assert (directory / "passthru-unfinished").exists()

    first = start(directory)
    assert first.stderr
    assert "making the virtual environment" in first.stderr.readline()
    second = start(directory)
    assert "installing passthru" in end(first)
    assert "installing" not in end(second)

    program = directory / "bin/passthru"
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60, cwd="/", check=True)
    assert "Usage" in shown.stdout
    assert list((CHECKOUT / "passthru/__pycache__").glob("*.pyc"))

    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert end(start(directory)) == ""
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


@pytest.mark.skipif(not SCRIPT.is_file(), reason="this is no checkout")
def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, before anything else is imported."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert error.value.code == 125
    told = capsys.readouterr().err
    assert "needs Python 3.11 or later" in told
    assert told.count("\n") == 1


@pytest.mark.skipif(not SCRIPT.is_file(), reason="this is no checkout")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """One sentence that names the place."""
    place = tmp_path / "file"
    place.write_text("")
    argv = [base_python(), str(SCRIPT), "--directory", str(place / "venv")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))
    assert done.returncode == 125
    assert str(place) in done.stderr
    assert done.stderr.count("\n") == 1
