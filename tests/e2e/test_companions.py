# SPDX-License-Identifier: GPL-2.0-or-later
"""Companions of others: vfio-user servers that are started by their command, or that run already."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.resources import directory
from tests.e2e.harness import lines_until
from tests.e2e.test_main_job import child_pid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.harness import Command

# Our own server, as anybody's.
SERVER = [sys.executable, "-m", "passthru.emulation", "mtty", "--socket", "{socket}"]
PATIENCE = "{socket}"


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory, for socket paths are short."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def scenario(place: Path) -> Callable[..., str]:
    """Writes the scenario mtty with a companion, and returns its file."""

    def write(companion: str = "", **keys: object) -> str:
        given = companion or ", ".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        include = json.dumps([str(directory("guests") / "mtty.toml")])
        path = place / "foreign.toml"
        path.write_text(f"include = {include}\n[device.mtty0]\ncompanion = {{ {given} }}\n")
        return str(path)

    return write


def test_a_server_that_is_started_by_its_command(passthru: Command, scenario: Callable[..., str]) -> None:
    ended = passthru("run", scenario(command=SERVER))
    assert ended.status == 0, ended
    assert "mtty listens on " in (ended.directory / "mtty0.log").read_text()
    kinds = {event["name"]: event for event in ended.events("child-exited")}
    assert kinds["mtty0"]["code"] == 0  # it was asked to end


def test_it_listens_at_a_path_of_its_own_which_goes_with_it(
    passthru: Command, scenario: Callable[..., str], place: Path
) -> None:
    path = scenario(command=SERVER, socket="own.sock")
    for _ in range(2):
        ended = passthru("run", path)
        assert ended.status == 0, ended
        assert not (place / "own.sock").exists()


def test_nothing_is_left_when_the_harness_is_killed(
    passthru: Command, scenario: Callable[..., str], place: Path
) -> None:
    with passthru.start("run", scenario(command=SERVER, socket="own.sock")) as process:
        lines_until(process, "boot")
        assert (place / "own.sock").exists()
        process.kill()
        passthru.ended(process)
    assert passthru.left_running() == []
    assert not (place / "own.sock").exists()


@pytest.mark.parametrize(("subject", "status"), [("device", 1), ("guest-kernel", 125)])
def test_its_death_counts_for_the_subject(
    passthru: Command, scenario: Callable[..., str], subject: str, status: int
) -> None:
    path = scenario(command=SERVER)
    overrides = ("--set", f'subject=["{subject}"]', "--set", "check.loopback.bursts=256")
    with passthru.start("run", path, *overrides) as process:
        lines_until(process, "passed   setserial")
        os.kill(child_pid(passthru, "mtty0"), signal.SIGKILL)
        ended = passthru.ended(process)
    assert ended.status == status, ended
    assert "the device server mtty0 was killed by SIGKILL" in json.dumps(ended.findings())


def test_one_that_dies_at_once(passthru: Command, scenario: Callable[..., str]) -> None:
    path = scenario(command=["sh", "-c", "echo starting; echo no licence found >&2; exit 3", "{socket}"])
    ended = passthru("run", path)
    assert ended.status == 1, ended
    summary = ended.findings()["run"]["summary"]
    assert summary.startswith("the device server mtty0 exited with status 3 before it listened at the socket that it ")
    assert summary.endswith('; it last said: "no licence found"')
    assert passthru("run", path, "--set", 'subject=["qemu"]').status == 125


@pytest.mark.parametrize("script", ["exec sleep 600", PATIENCE])
def test_one_that_never_listens(passthru: Command, scenario: Callable[..., str], script: str) -> None:
    bind = "import signal,socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);print('up');signal.pause()"
    words = [sys.executable, "-uc", bind] if script == PATIENCE else ["sh", "-c", f"echo up; {script}", "sh"]
    ended = passthru("run", scenario(command=[*words, "{socket}"], timeout=0.5))
    assert ended.status == 1, ended
    summary = ended.findings()["run"]["summary"]
    assert "the device server mtty0 did not listen at the socket that it was given in " in summary
    assert summary.endswith('; it last said: "up"')


def test_one_that_does_not_exist(passthru: Command, scenario: Callable[..., str], place: Path) -> None:
    ended = passthru("run", scenario(command=["./server", "{socket}"]))
    assert ended.status == 125, ended
    assert (
        ended.findings()["run"]["summary"] == f"cannot start mtty0: there is no file {place}/./server; check the path"
    )
    ended = passthru("run", scenario(command=["no-such-server", "{socket}"]))
    assert ended.status == 125, ended
    assert "there is no program 'no-such-server' in PATH" in ended.findings()["run"]["summary"]


def test_a_socket_that_nobody_listens_at(passthru: Command, scenario: Callable[..., str], place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(place / "left"))
    for name in ("none", "left"):
        ended = passthru("run", scenario(socket=name))
        assert ended.status == 125, ended
        told = f"nobody listens at {place}/{name}, the socket of the device mtty0; start its server first"
        assert told in ended.findings()["run"]["summary"]


def test_a_server_that_runs_already(passthru: Command, scenario: Callable[..., str], place: Path) -> None:
    with passthru.start("serve", "mtty", "--socket", str(place / "s")) as server:
        lines_until(server, "mtty listens on")
        for _ in range(2):
            ended = passthru("run", scenario(socket="s"))
            assert ended.status == 0, ended
        taken = passthru("run", scenario(command=SERVER, socket="s"))
        assert taken.status == 125, taken
        assert "cannot listen at" in taken.findings()["run"]["summary"]
        server.terminate()
        assert passthru.ended(server).status == 0


@pytest.mark.parametrize(("subject", "status"), [("device", 1), ("guest-kernel", 125)])
def test_the_death_of_a_server_that_ran_already(
    passthru: Command, scenario: Callable[..., str], place: Path, subject: str, status: int
) -> None:
    with passthru.start("serve", "mtty", "--socket", str(place / "s")) as server:
        lines_until(server, "mtty listens on")
        overrides = ("--set", f'subject=["{subject}"]', "--set", "check.loopback.bursts=256")
        with passthru.start("run", scenario(socket="s"), *overrides) as process:
            lines_until(process, "passed   setserial")
            server.kill()
            ended = passthru.ended(process)
        passthru.ended(server)
    assert ended.status == status, ended
    assert "the device server mtty0, which ran already, has ended" in json.dumps(ended.findings())


def test_qemu_sh_starts_a_companion_too(passthru: Command, scenario: Callable[..., str], place: Path) -> None:
    (place / "server.sh").write_text(f"#!/bin/sh\npwd >where\nexec '{sys.executable}' -m passthru.emulation \"$@\"\n")
    (place / "server.sh").chmod(0o755)
    command = ["./server.sh", "mtty", "--socket", "{socket}"]
    for keys in ({"command": command}, {"command": command, "socket": "own.sock"}):
        ended = passthru("run", scenario(**keys))
        assert ended.status == 0, ended
        (place / "where").unlink()
        with subprocess.Popen(
            [ended.directory / "qemu.sh"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd="/",
        ) as script:  # fmt: skip
            try:
                assert script.stdout is not None
                assert any("ttyS1 at I/O" in line for line in script.stdout)
            finally:
                script.terminate()
                script.communicate(timeout=60)
        assert (place / "where").read_text() == f"{place}\n"


@pytest.mark.parametrize(
    ("companion", "words"),
    [
        (" ", 'foreign.toml:3: device.mtty0.companion: needs "command"'),
        ('command = ["server"]', "foreign.toml:3: device.mtty0.companion: has a command without {socket} in it"),
        ('sockte = "s"', 'foreign.toml:3: device.mtty0.companion.sockte: is no known key; did you mean "socket"?'),
    ],
)
def test_what_is_wrong_is_one_sentence(
    passthru: Command, scenario: Callable[..., str], companion: str, words: str
) -> None:
    ended = passthru("run", scenario(companion))
    assert ended.status == 2, ended
    assert words in ended.stderr
    assert not passthru.runs.exists()
