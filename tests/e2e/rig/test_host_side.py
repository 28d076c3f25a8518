# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios without a guest, as a user runs them: every bus of an arm64 rig on both kernels, and what can go wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command, Ended

OLD = ("amba-rtc", "amba-uart", "platform-host", "fsl-mc-host", "fsl-mc-host-plugged", "fsl-mc-hot-add")
NEW = ("amba-6.12", "platform-host-6.12", "fsl-mc-host-6.12", "fsl-mc-hot-add-6.12")
MANY = 100
"""Fewer tests than the suite has for any of these devices."""
DYING = ('check.conform.only=["an-index-that-nobody-enabled-is-disabled"]', "check.conform.dangerous=true")


def suites_of(ended: Ended, directory: Path) -> dict[str, list[str]]:
    """The verdicts of the tests of each check that is the suite, by run and check."""
    assert ended.status == 0, ended.stdout
    found = {}
    for run in sorted(path for path in directory.iterdir() if not path.is_symlink()):
        for line in (run / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            if event["kind"] == "check-ended" and event["judgement"]["use"] == "conform":
                name = f"{run.name.split('-', 2)[-1]}/{event['judgement']['check']}"
                found[name] = [test["verdict"] for test in event["judgement"]["finding"]["facts"]["tests"]]
    return found


@pytest.mark.parametrize(("scenarios", "suites"), [(OLD, 7), (NEW, 6)], ids=["6.1", "6.12"])
def test_each_bus_passes_on_its_host(
    scenarios: tuple[str, ...], suites: int, passthru: Command, tmp_path: Path
) -> None:
    """The suite for each device, every driver as it is to be, and an object that is new in a container."""
    ended = passthru("run", *scenarios, "--runs", str(tmp_path), "--no-skip")
    found = suites_of(ended, tmp_path)
    assert len(found) == suites, found.keys()
    for name, verdicts in found.items():
        assert set(verdicts) == {"passed", "skipped"}, name
        assert verdicts.count("passed") >= MANY, name


def test_a_kernel_that_dies_in_a_test_fails_that_test_and_ends_the_rest(passthru: Command, tmp_path: Path) -> None:
    again = ("check.rest.use=conform", "check.rest.device=net")
    overrides = [word for text in (*DYING, *again) for word in ("--set", text)]
    ended = passthru("run", "fsl-mc-host", *overrides, "--runs", str(tmp_path), "--junit", str(tmp_path / "junit.xml"))
    assert ended.status == 1, ended.stdout
    assert "1 failed: an-index-that-nobody-enabled-is-disabled" in ended.stdout
    assert "vfio_set_trigger" in ended.stdout
    assert "could not judge: the host's kernel (the rig's) died" in ended.stdout
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    results = {case.get("name"): [child.tag for child in case] for case in cases}
    assert results["conform/an-index-that-nobody-enabled-is-disabled"] == ["failure"]
    assert (results["held"], results["rest"]) == (["system-out"], ["error"])


def test_a_run_again_by_its_directory_and_what_is_refused(passthru: Command, tmp_path: Path) -> None:
    once = passthru("run", "amba-rtc", "--set", 'check.conform.only=["info"]', "--runs", str(tmp_path))
    assert once.status == 0, once.stdout
    latest = (tmp_path / "latest").resolve()
    script = (latest / "qemu.sh").read_text()
    assert "echo 9010000.pl031 > /sys/bus/amba/drivers/vfio-amba/bind" in script
    assert not list(latest.glob("ttyS0*"))
    again = passthru("run", str(latest), "--runs", str(tmp_path))
    assert again.status == 0, again.stdout
    shell = passthru("shell", str(latest))
    assert shell.status == 2
    assert shell.stderr.count("\n") == 1
    assert "`passthru rig shell" in shell.stderr
    for words, said in (
        (("--kernel", "own"), "its host's is host.kernel"),
        (("--keep",), "--keep is for a guest, and amba-rtc has none"),
    ):
        ended = passthru("run", "amba-rtc", *words, "--runs", str(tmp_path))
        assert ended.status == 2
        assert said in ended.stderr
    doctor = passthru("doctor", "amba-rtc")
    assert "rig's kernel" in doctor.stdout
    assert "vfio-pci" not in doctor.stdout
