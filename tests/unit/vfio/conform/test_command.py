# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as a command: options, exit codes, the order of its lines."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from passthru.errors import UserMistake
from passthru.vfio.conform.command import Options, choose, main, parse
from passthru.vfio.conform.facts import driver_of
from passthru.vfio.conform.registry import all_tests
from passthru.vfio.conform.report import Report, Unheard
from tests.unit.vfio.conform.made_device import made_test

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.vfio.conform.case import Case

SECONDS = 20


def nothing(case: Case) -> None:
    """Nothing."""


def test_options_are_parsed() -> None:
    given = parse(
        ["--target", "{}", "--only", "a", "--only", "b", "--dangerous", "--time-limit", "2.5", "--report", "3"]
    )
    assert given == Options(target="{}", only=("a", "b"), dangerous=True, time_limit=2.5, report=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--targt", "x"], "--targt is no option"),
        (["target"], "target is no option"),
        (["--target"], "--target takes a value"),
        (["--target", "x", "--seed", "one"], "--seed takes a number, not 'one'"),
        ([], "--target is missing"),
        (["--target", "{", "--only", "info"], "cannot be understood"),
        (["--target", "[]"], "cannot be understood"),
        (["--target", '{"transport": "vfio-user"}'], "no socket"),
        (["--target", '{"transport": "smoke"}'], "smoke"),
        (["--list", "--only", "nonsense"], "no test is called nonsense"),
    ],
)
def test_what_the_caller_wrote_wrong_is_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_target_that_cannot_be_opened_is_125(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = json.dumps({"transport": "vfio-user", "socket": str(tmp_path / "nobody")})
    assert main(["--target", target]) == 125
    assert "cannot be opened: ENOENT" in capsys.readouterr().err


def test_a_stub_that_is_not_there_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = json.dumps({"transport": "vfio-user", "socket": str(tmp_path / "nobody")})
    assert main(["--target", target, "--stub", str(tmp_path / "none.py")]) == 2
    assert "none.py" in capsys.readouterr().err


def test_patterns_choose_by_name_and_topic() -> None:
    tests = all_tests()
    assert {test.topic for test in choose(tests, ["irqs"])} == {"irqs"}
    assert [test.name for test in choose(tests, ["a-device-is-there"])] == ["a-device-is-there"]
    assert choose(tests, []) == list(tests)
    with pytest.raises(UserMistake):
        choose(tests, ["irqs", "nonsense"])


def test_a_paced_report_waits_for_the_word_to_go_on() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    with ours, theirs:
        done = threading.Event()

        def tell() -> None:
            Report(theirs.fileno(), paced=True).started(made_test(nothing))
            done.set()

        telling = threading.Thread(target=tell)
        telling.start()
        assert json.loads(ours.recv(4096)) == {"event": "started", "test": "nothing"}
        assert not done.is_set()
        ours.sendall(b".")
        telling.join(SECONDS)
        assert done.is_set()


@pytest.mark.parametrize("paced", [True, False])
def test_a_report_that_nobody_takes_ends_the_run(paced: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(Unheard):
        Report(theirs.fileno(), paced=paced).started(made_test(nothing))


def test_the_driver_is_found_on_whichever_bus(tmp_path: Path) -> None:
    devices = tmp_path / "sys/bus/mdev/devices/0000-11"
    devices.mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    (tmp_path / "sys/bus/mdev/drivers/mtty").mkdir(parents=True)
    (devices / "driver").symlink_to("../../drivers/mtty")
    assert driver_of("0000-11", tmp_path) == "mtty"
    assert driver_of("0000-12", tmp_path) == ""
