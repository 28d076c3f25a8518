# SPDX-License-Identifier: GPL-2.0-or-later
"""Models and checks of the user's own, as the README's example has them, in real guests."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from passthru.resources import directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command

EXAMPLE = directory("guests") / "examples"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example, at a path with a blank."""
    copy = tmp_path / "my devices"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def line_of(path: Path, text: str) -> int:
    return path.read_text().splitlines().index(text) + 1


def test_the_example_passes_and_its_run_directory_runs_again(passthru: Command, example: Path) -> None:
    first = passthru("run", str(example / "doorbell.toml"), "--set", "device.bell.step=2")
    assert first.status == 0, first
    assert first.findings()["rings"]["summary"] == "3 rings, as many interrupts, counter 0x00000006"
    lock = json.loads((first.directory / "lock.json").read_text())
    assert set(lock["code"]) == {str(example / "doorbell.py"), str(example / "rings.py")}
    again = passthru("run", str(first.directory), cwd="/")
    assert again.status == 0, again
    assert again.findings() == first.findings()
    changed(example / "rings.py", "default=3", "default=4")
    refused = passthru("run", str(first.directory))
    assert refused.status == 125, refused
    assert "rings.py has changed since the run that is to be repeated" in refused.stdout
    assert passthru("run", str(example / "doorbell.toml")).status == 0


def test_a_model_that_does_not_interrupt_fails_the_check(passthru: Command, example: Path) -> None:
    changed(example / "doorbell.py", "interrupt = True", "interrupt = False")
    ended = passthru("run", str(example / "doorbell.toml"), "--set", "check.rings.rings=1")
    assert ended.status == 1, ended
    assert "ring 1 raised no interrupt" in ended.findings()["rings"]["summary"]


def test_a_mistake_in_a_model_names_its_line(passthru: Command, example: Path) -> None:
    model = example / "doorbell.py"
    changed(model, "        value = self.rings if offset == 0 else 0\n", "        value = {8: self.rings}[offset]\n")
    ended = passthru("run", str(example / "doorbell.toml"))
    assert ended.status == 1, ended
    told = json.dumps(ended.findings())
    line = line_of(model, "        value = {8: self.rings}[offset]")
    said = f"{model}:{line}: KeyError: 0 (in a read of region 0 at 0x0, 4 bytes)"
    assert f'the device server bell exited with status 2; it last said: \\"{said}' in told
    assert "Traceback" not in ended.stdout
    other = passthru("run", str(example / "doorbell.toml"), "--set", 'subject=["guest-kernel"]')
    assert other.status == 125, other


def test_a_mistake_in_a_check_names_its_line_and_spares_the_others(passthru: Command, example: Path) -> None:
    check = example / "rings.py"
    changed(check, "    device = context.the_device\n", "    device = context.the_device.nothing\n")
    ended = passthru("run", str(example / "doorbell.toml"), "--set", "check.after.use=command", "--set",
                     "check.after.command='echo after'")  # fmt: skip
    assert ended.status == 125, ended
    line = line_of(check, "    device = context.the_device.nothing")
    finding = ended.findings()["rings"]
    assert finding["verdict"] == "error"
    assert finding["summary"].startswith(f"the check broke: {check}:{line}: AttributeError: ")
    assert finding["details"][0].count("File ") == 1
    assert ended.findings()["after"]["verdict"] == "passed"


def test_an_installed_package_adds_both_by_entry_points(passthru: Command, example: Path, tmp_path: Path) -> None:
    package = tmp_path / "site" / "bells"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("doorbell.py", "rings.py"):
        shutil.copy(example / name, package)
    changed(package / "doorbell.py", "class Registers(Region):\n", "class Registers(Region):\n    from . import rest\n")
    (package / "rest.py").touch()
    (tmp_path / "site" / "bells-1.dist-info").mkdir()
    (tmp_path / "site" / "bells-1.dist-info" / "METADATA").write_text("Name: bells\nVersion: 1\n")
    (tmp_path / "site" / "bells-1.dist-info" / "entry_points.txt").write_text(
        "[passthru.models]\nbell = bells.doorbell:Doorbell\n[passthru.checks]\nring = bells.rings\n"
    )
    passthru.environment = {"PYTHONPATH": str(tmp_path / "site")}
    given = ("--set", "device.bell.model=bell", "--set", "check.rings.use=ring")
    ended = passthru("run", str(example / "doorbell.toml"), *given)
    assert ended.status == 0, ended
    changed(package / "doorbell.py", "        if offset == 4:\n", "        if ofset == 4:\n")
    ended = passthru("run", str(example / "doorbell.toml"), *given)
    assert ended.status == 1, ended
    line = line_of(package / "doorbell.py", "        if ofset == 4:")
    assert f"{package}/doorbell.py:{line}: NameError: name 'ofset' is not defined" in json.dumps(ended.findings())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "device.bell.model=doorbell.py:Bell"), "has no class Bell; models in it: Doorbell"),
        (("--set", "device.bell.step='far'"), 'device.bell.step: should be an integer, not "far"'),
        (("--set", "check.rings.rings=0"), "check.rings.rings: should be greater than or equal to 1, not 0"),
        (("--set", "check.rings.use=none.py"), "check.rings.use: "),
    ],
)
def test_what_is_wrong_with_them_is_one_sentence(
    passthru: Command, example: Path, arguments: tuple[str, ...], words: str
) -> None:
    ended = passthru("run", "doorbell.toml", *arguments, cwd=example)
    assert ended.status == 2, ended
    assert len(ended.stderr.splitlines()) == 1
    assert words in ended.stderr
    assert not passthru.runs.exists()


def test_serve_takes_an_own_model(passthru: Command, example: Path) -> None:
    ended = passthru("serve", "doorbell.py:Doorbell", "--socket", "/no/such/socket", "--set", "step=2", cwd=example)
    assert ended.status == 125, ended
    assert "no socket can be made at /no/such/socket" in ended.stderr
    ended = passthru("serve", "doorbell.py:Doorbell", "--socket", "/no/such/socket", "--set", "stop=2", cwd=example)
    assert ended.status == 2, ended
    assert "has no option 'stop'; it has step" in ended.stderr
