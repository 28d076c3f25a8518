# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios and checks in code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from passthru.errors import ScenarioError
from passthru.pytest_plugin import device, scenario
from passthru.pytest_plugin.in_code import check_options, request_for
from passthru.scenario.library import find
from passthru.scenario.loading import load

HERE = re.escape(str(Path(__file__)))


def test_what_is_left_out_has_the_defaults_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "guest.toml"
    file.write_text('[device.mtty0]\nbus = "vfio-user"\nmodel = "mtty"\nports = 1\n')
    assert scenario(devices={"mtty0": device("mtty", ports=1)}) == load(file)


def test_everything_can_be_said() -> None:
    made = scenario(
        "all",
        kernel="debian:trixie",
        qemu="/usr/bin/qemu",
        machine="q35",
        memory="1G",
        cpus=4,
        modules=("dummy",),
        cmdline="a b",
        quirks=["WARNING"],
        devices={"one": device("mtty", address="09.0"), "two": device("mtty", fifo="fixed")},
        checks={"loop": {"use": "serial-loopback", "device": "two", "bytes": 3}},
        subject=["qemu"],
        deadline=7,
        accel="tcg",
    )
    guest = made.guest
    assert (guest.kernel, guest.qemu, guest.machine, guest.memory) == ("debian:trixie", "/usr/bin/qemu", "q35", 1024)
    assert (guest.cpus, guest.modules, guest.cmdline, guest.quirks) == (4, ("dummy",), "a b", ("WARNING",))
    assert (made.name, made.subject, made.deadline, guest.accel) == ("all", ("qemu",), 7.0, "tcg")
    assert made.device["one"].guest_address == "0000:00:09.0"
    assert made.device["two"].options["fifo"] == "fixed"
    assert made.check["loop"].device == "two"


def test_what_is_wrong_is_told_with_the_place_in_the_code() -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario(cpus=0, kernal="x", devices={"a": device("mtty", prots=2)})
    lines = str(caught.value).splitlines()
    assert all(re.match(rf"{HERE}:\d+: ", line) for line in lines)
    assert sorted(line.split(": ")[1] for line in lines) == ["device.a.prots", "guest.cpus", "guest.kernal"]


def test_overrides_come_last() -> None:
    made = scenario(kernel="debian:trixie", devices={"mtty0": device("mtty")})
    request = request_for(made, ['guest.kernel="debian:sid"', "device.mtty0.ports=1"])
    assert request.scenario.guest.kernel == "debian:sid"
    assert request.scenario.device["mtty0"].options["ports"] == 1
    assert request_for(made, ()).scenario is made
    with pytest.raises(ScenarioError, match=r"--set device\.mtty0\.ports=9"):
        request_for(made, ["device.mtty0.ports=9"])


def test_a_scenario_by_its_name() -> None:
    assert request_for("mtty", ["guest.cpus=2"]).scenario.guest.cpus == 2
    with pytest.raises(ScenarioError, match="did you mean"):
        request_for("mty", ())


def test_the_only_device_is_the_one_that_a_check_means() -> None:
    one = load(find("mtty")[0])
    assert check_options("serial-loopback", {"bytes": 3}, one).device == "mtty0"
    assert check_options("command", {"command": "true"}, one).device is None
    two = scenario(devices={"a": device("mtty"), "b": device("mtty")})
    assert check_options("serial-loopback", {"device": "b"}, two).device == "b"
    with pytest.raises(ScenarioError, match=rf"{HERE}:\d+: check\.serial-loopback\.device: is missing"):
        check_options("serial-loopback", {}, two)
    with pytest.raises(ScenarioError, match="there is no check"):
        check_options("horoscope", {}, one)


def test_lists_are_as_good_as_tuples() -> None:
    assert check_options("dmesg", {"expect": ["x"]}, scenario(devices={"a": device("mtty")})) is not None
