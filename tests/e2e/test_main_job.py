# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job: a guest boots with the mtty card and is judged, as a user asks for it on the command line."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.e2e.harness import lines_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command


def test_mtty_passes_every_check_and_leaves_a_whole_run_directory(passthru: Command, tmp_path: Path) -> None:
    ended = passthru("run", "mtty", "--junit", str(tmp_path / "out" / "junit.xml"))
    assert ended.status == 0, ended
    verdicts = {check: finding["verdict"] for check, finding in ended.findings().items()}
    assert set(verdicts.values()) == {"passed"}
    assert set(verdicts) >= {"lspci", "setserial", "loopback", "interrupts", "dmesg"}
    for name in (
        "events.jsonl",
        "scenario.json",
        "lock.json",
        "qemu.sh",
        "qmp.log",
        "junit.xml",
        "ttyS0.log",
        "ttyS0.cast",
    ):
        assert (ended.directory / name).stat().st_size > 0, name
    suites = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert {case.get("name") for case in suites.iter("testcase")} == set(verdicts)
    assert "PASSED" in ended.stdout


def test_a_burst_of_16_bytes_shows_the_bug_of_the_real_mtty(passthru: Command) -> None:
    ended = passthru("run", "mtty", "--set", "check.loopback.bytes=16")
    assert ended.status == 1, ended
    finding = ended.findings()["loopback"]
    assert finding["verdict"] == "failed"
    told = " ".join([finding["summary"], *finding["details"]])
    assert "ttyS1" in told
    assert "ttyS2" in told
    assert "lost" in told
    assert "ttyS1" in ended.stdout


def test_the_fixed_fifo_loops_16_bytes_back(passthru: Command) -> None:
    ended = passthru("run", "mtty", "--set", "check.loopback.bytes=16", "--set", "device.mtty0.fifo=fixed")
    assert ended.status == 0, ended


def test_one_port(passthru: Command) -> None:
    ended = passthru("run", "mtty", "--set", "device.mtty0.ports=1")
    assert ended.status == 0, ended


def test_a_run_directory_runs_again_with_the_same_versions(passthru: Command) -> None:
    first = passthru("run", "mtty")
    assert first.status == 0, first
    again = passthru("run", str(first.directory))
    assert again.status == 0, again
    assert again.directory != first.directory
    assert json.loads((again.directory / "lock.json").read_text()) == json.loads(
        (first.directory / "lock.json").read_text()
    )


@pytest.mark.parametrize(("subject", "status"), [("device", 1), ("guest-kernel", 125)])
def test_the_death_of_the_device_server_counts_for_the_subject(passthru: Command, subject: str, status: int) -> None:
    with passthru.start(
        "run", "mtty", "--set", f'subject=["{subject}"]', "--set", "check.loopback.bursts=256"
    ) as process:
        lines_until(process, "passed   setserial")
        server = child_pid(passthru, "mtty0")
        os.kill(server, signal.SIGKILL)
        ended = passthru.ended(process)
    assert ended.status == status, ended
    told = json.dumps(ended.findings())
    assert "the device server mtty0 was killed by SIGKILL" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("line", ["mtty:", "prepare", "attach", "boot", "passed"])
def test_a_signal_at_any_moment_leaves_nothing_running(passthru: Command, number: signal.Signals, line: str) -> None:
    with passthru.start("run", "mtty") as process:
        lines_until(process, line)
        process.send_signal(number)
        ended = passthru.ended(process)
    assert ended.status == (-number if number is signal.SIGKILL else 130), ended
    assert passthru.left_running() == []


def child_pid(passthru: Command, name: str) -> int:
    """The process id of a child of the running command, as its events tell."""
    events = (passthru.runs / "latest" / "events.jsonl").read_text().splitlines()
    pids = [
        event["pid"] for event in map(json.loads, events) if event["kind"] == "child-started" and event["name"] == name
    ]
    return int(pids[0])


def test_another_kernel_can_be_named_for_a_run_directory(passthru: Command) -> None:
    first = passthru("run", "mtty")
    assert first.status == 0, first
    again = passthru("run", str(first.directory), "--kernel", "debian:bookworm-backports")
    assert again.status == 0, again
    then, now = (json.loads((run.directory / "lock.json").read_text()) for run in (first, again))
    assert now["qemu"] == then["qemu"]
    assert now["kernel"]["release"].startswith("6.12") or now["kernel"] != then["kernel"]
