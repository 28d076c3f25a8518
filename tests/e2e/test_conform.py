# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance suite as a user runs it on device servers: verdicts, deaths, interruptions, bad input."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from passthru.check import tap
from passthru.resources import directory
from tests.e2e.harness import lines_until
from tests.e2e.test_bad_input import says
from tests.e2e.test_main_job import child_pid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.harness import Command, Ended

SERVER = shlex.join([sys.executable, "-m", "passthru.emulation", "mtty", "--socket"]) + " {socket}"
# A card that dies of a write to its interrupt line.
DYING = """\
import os, sys
from passthru.emulation.models.mtty import Mtty

class Dying(Mtty):
    def __init__(self, options):
        super().__init__(options)
        config = self.regions[7]
        write = config.write

        def dying(offset, data):
            if offset == 0x3C:
                print("an interrupt line is too much", file=sys.stderr, flush=True)
                os._exit(9)
            return write(offset, data)

        config.write = dying
"""
# A server that ends with its client, as many do, and leaves its socket behind.
ONE_CLIENT = """\
import socket, sys
from passthru.emulation.models.mtty import Mtty
from passthru.emulation.vfio_user import listener

class LastClient(listener._Door):
    def clients(self):
        yield next(iter(super().clients()))

listener._Door = LastClient
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
listener.serve_clients(door, Mtty(Mtty.Options()))
"""
OF_DEATH = "the-interrupt-line-keeps-what-is-written"


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory, for socket paths are short."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        yield Path(path)


def verdicts(ended: Ended) -> dict[str, str]:
    """What each test came to."""
    return {test: finding["verdict"] for test, finding in ended.findings().items()}


@pytest.mark.parametrize("model", ["mtty", "dma-engine"])
def test_our_own_models_conform(passthru: Command, model: str) -> None:
    ended = passthru("conform", "--model", model)
    assert ended.status == 0, ended
    found = verdicts(ended)
    assert list(found.values()).count("passed") > 80
    assert set(found.values()) == {"passed", "skipped"}
    (suite,) = ended.events("suite-started")
    assert suite["tests"] == list(found)  # each has a verdict, in the order in which they run
    assert passthru.left_running() == []


def test_options_of_a_model(passthru: Command) -> None:
    ended = passthru("conform", "--model", "mtty", "--option", "ports=1", "--only", "info", "--set", "deadline=30")
    assert ended.status == 0, ended
    assert json.loads((ended.directory / "scenario.json").read_text())["device"]["dut"]["ports"] == 1


def test_a_model_of_the_users_with_a_stub_in_one_file(passthru: Command) -> None:
    examples = directory("guests") / "examples"
    stub = str(examples / "doorbell_stub.py")
    ended = passthru("conform", "--model", f"{examples / 'doorbell.py'}:Doorbell", "--stub", stub)
    assert ended.status == 0, ended
    assert verdicts(ended)["real-interrupts-are-counted"] == "passed"
    assert (ended.directory / "stub" / "doorbell_stub.py").read_bytes() == Path(stub).read_bytes()
    assert stub in json.loads((ended.directory / "lock.json").read_text())["code"]


def test_a_server_that_is_started_by_its_command(passthru: Command) -> None:
    ended = passthru("conform", "--server", SERVER)
    assert ended.status == 0, ended
    kinds = {event["name"]: event for event in ended.events("child-exited")}
    assert kinds["dut"]["code"] == 0  # it was asked to end
    assert passthru.left_running() == []


def test_a_server_that_ends_with_its_client_is_there_for_the_next(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(ONE_CLIENT)
    server = shlex.join([sys.executable, str(tmp_path / "one.py")]) + " {socket}"
    words = ("--only", "info", "--only", "lifecycle", "--only", "a-version-may-say-little-or-more")
    ended = passthru("conform", "--server", server, *words)
    assert ended.status == 0, ended
    assert len([event for event in ended.events("child-started") if event["name"] == "dut"]) > 5
    assert passthru.left_running() == []


def test_a_server_that_listens_at_a_path_of_its_own(passthru: Command, place: Path) -> None:
    command = shlex.join([sys.executable, "-m", "passthru.emulation", "mtty", "--socket", str(place / "s")])
    ended = passthru("conform", "--server", command, "--vfio-user", str(place / "s"), "--only", "info")
    assert ended.status == 0, ended
    assert not (place / "s").exists()


def test_a_server_that_runs_already_stays(passthru: Command, place: Path) -> None:
    with passthru.start("serve", "mtty", "--socket", str(place / "s")) as server:
        lines_until(server, "listens")
        ended = passthru("conform", "--vfio-user", str(place / "s"), "--only", "info", "--only", "regions")
        assert ended.status == 0, ended
        assert server.poll() is None
        server.terminate()
        server.wait(20)


def test_a_server_that_dies_has_failed_the_test_by_name_and_the_rest_is_judged(
    passthru: Command, tmp_path: Path
) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    ended = passthru("conform", "--model", f"{tmp_path / 'dying.py'}:Dying", "--only", "pci_config", "--only", "loop")
    assert ended.status == 1, ended
    found = ended.findings()
    summary = found[OF_DEATH]["summary"]
    said = 'the device server exited with status 9; it last said: "an interrupt line is too much", in this test: '
    assert summary.startswith(said)
    assert found["looped-data-come-back"]["verdict"] == "passed"
    assert "is started anew for the rest of the tests" in ended.stdout
    (suite,) = ended.events("suite-started")
    assert suite["tests"] == list(found)
    assert [name for name, finding in found.items() if finding["verdict"] == "failed"] == [OF_DEATH]


def test_a_server_of_others_that_dies_leaves_the_rest_unjudged(passthru: Command, place: Path, tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    with passthru.start("serve", f"{tmp_path / 'dying.py'}:Dying", "--socket", str(place / "s")) as server:
        lines_until(server, "listens")
        ended = passthru("conform", "--vfio-user", str(place / "s"), "--only", "pci_config", "--format", "tap")
        assert server.wait(20) == 9
    assert ended.status == 1, ended
    found = ended.findings()
    assert found[OF_DEATH]["verdict"] == "failed"
    assert found["run"]["verdict"] == "error"
    assert "tests could not be judged: " in found["run"]["summary"]
    block = tap.parse(ended.stdout)
    assert block.bailed == found["run"]["summary"].splitlines()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("line", ["conform-mtty:", "serve", "suite", "passed"])
def test_a_signal_at_any_moment_leaves_nothing_running(passthru: Command, number: signal.Signals, line: str) -> None:
    with passthru.start("conform", "--model", "mtty") as process:
        lines_until(process, line)
        process.send_signal(number)
        ended = passthru.ended(process)
    assert ended.status == (-number if number is signal.SIGKILL else 130), ended
    assert passthru.left_running() == []
    if number is not signal.SIGKILL:
        assert "interrupted (" in ended.stdout


def test_a_suite_that_is_killed_could_not_judge_the_test(passthru: Command) -> None:
    with passthru.start("conform", "--model", "mtty", "--only", "interrupts", "--only", "loop") as process:
        lines_until(process, "passed")
        os.kill(child_pid(passthru, "conform-dut"), signal.SIGKILL)
        ended = passthru.ended(process)
    assert ended.status == 125, ended
    (error,) = [finding["summary"] for finding in ended.findings().values() if finding["verdict"] == "error"]
    if error.endswith(" could not be judged: the suite broke off between its tests: the suite was killed by SIGKILL"):
        return  # it had just told of a test's end
    assert error == "the suite was killed by SIGKILL, in this test"
    assert verdicts(ended)["looped-data-come-back"] == "passed"


def test_tap_ktap_json_and_junit_say_the_same(passthru: Command, tmp_path: Path) -> None:
    junit = tmp_path / "out" / "junit.xml"
    ended = passthru("conform", "--model", "mtty", "--format", "json", "--junit", str(junit))
    told = json.loads(ended.stdout)
    assert (told["exit_code"], told["verdict"]) == (0, "passed")
    wanted = {test["name"]: test["verdict"] for test in told["tests"]}
    assert wanted == verdicts(ended)
    assert all(test["cites"] and test["demand"] for test in told["tests"])
    cases = {case.get("name"): case for case in ElementTree.parse(junit).iter("testcase")}
    assert list(cases) == list(wanted)
    assert {name for name, case in cases.items() if case.find("skipped") is not None} == {
        name for name, verdict in wanted.items() if verdict == "skipped"
    }
    for form in ("tap", "ktap"):
        block = tap.parse(passthru("conform", "--model", "mtty", "--format", form).stdout)
        assert block.complaints() == []
        found = {result.name: "skipped" if result.skipped else "passed" for result in block.results if result.ok}
        assert found == wanted, form


def test_a_skipped_test_counts_where_that_is_asked_for(passthru: Command) -> None:
    assert passthru("conform", "--model", "mtty", "--only", "dma_by_device").status == 125  # nothing was judged
    only = ("--only", "info", "--only", "dma_by_device")
    assert passthru("conform", "--model", "mtty", *only).status == 0
    assert passthru("conform", "--model", "mtty", *only, "--no-skip").status == 125


def test_the_list_of_tests(passthru: Command) -> None:
    listed = passthru("conform", "--list", "--only", "a-short-argsz*").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [["topic", "test"], ["info", "a-short-argsz-is-refused"]]
    tests = json.loads(passthru("conform", "--list", "--format", "json").stdout)
    assert len({test["name"] for test in tests}) == len(tests) > 100
    assert all(test["demand"] and test["cites"] for test in tests)
    assert not passthru.runs.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("nothing is named to be judged", "--rig", "--model")),
        (("--model", "mtty", "--rig", "edu"), ("--rig and --model are named",)),
        (("--model", "mtty", "--only", "irrq*"), ("irrq*", "--list")),
        (("--list", "--only", "irrq*"), ("irrq*",)),
        (("--model", "mty"), ("mty", "mtty")),
        (("--model", "mtty", "--option", "ports=3"), ("device.dut.ports",)),
        (("--model", "mtty", "--option", "ports"), ("--option ports", "ports=1")),
        (("--option", "ports=1", "--vfio-user", "/nowhere"), ("--option goes with --model",)),
        (("--model", "mtty", "--device", "mtty0"), ("--device goes with --rig",)),
        (("--model", "mtty", "--container", "type1"), ("--container",)),
        (("--model", "mtty", "--container", "type3"), ("--container", "noiommu")),
        (("--model", "mtty", "--time-limit", "0"), ("--time-limit",)),
        (("--model", "mtty", "--stub", "/no/such/stub.py"), ("/no/such/stub.py", "no such file")),
        (("--rig", "mtty"), ("mtty has no rig",)),
        (("--rig", "no-such"), ("no-such",)),
        (("--rig", "edu", "--device", "edu1"), ("edu1", "edu0")),
        (("--rig", "edu", "--container", "noiommu"), ("--set host.iommu=none",)),
        (("mtty-mdev",), ("--rig mtty-mdev",)),
        (("--server", "serve"), ("{socket}",)),
    ],
)
def test_bad_input_is_told_at_once(passthru: Command, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    says(passthru("conform", *arguments), 2, *words)


def test_what_cannot_be_judged_is_told(passthru: Command, place: Path) -> None:
    says(passthru("conform", "--vfio-user", str(place / "nobody")), 125, "nobody listens at")
    says(passthru("conform", "--server", "/no/such/server {socket}"), 125, "/no/such/server")
    says(passthru("conform", "--server", "false {socket}"), 1, "exited with status 1 before it listened")
    patience = ("--set", "device.dut.companion.timeout=0.2")
    says(passthru("conform", "--server", "sh -c 'sleep 60' {socket}", *patience), 1, "did not listen at", "0.2 s")
    assert passthru.left_running() == []


def test_a_run_directory_says_what_was_judged(passthru: Command) -> None:
    ended = passthru("conform", "--model", "mtty", "--only", "info")
    names = {path.name for path in ended.directory.iterdir()}
    assert {"events.jsonl", "junit.xml", "scenario.json", "lock.json", "dut.log", "dut.vfio-user"} <= names
    (suite,) = ended.events("suite-started")
    assert "irq" in suite["facts"]["capabilities"]
    decoded = passthru("trace", str(ended.directory))
    assert "DEVICE_GET_INFO" in decoded.stdout
