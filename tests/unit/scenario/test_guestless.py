# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios without a guest: what they may hold, what only they may, and that they mean the same when read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from passthru.errors import ScenarioError, UserMistake
from passthru.run.host_plan import demand_guest
from passthru.scenario.hosts import RigHost
from passthru.scenario.library import find, names
from passthru.scenario.loading import load, resolved
from passthru.scenario.models import NoGuest

if TYPE_CHECKING:
    from pathlib import Path

RIG = """
[host]
kind = "rig"
arch = "arm64"
unsafe_interrupts = true
modules = ["vfio-amba", "vfio-reset-stub"]
[host.hardware.clock]
device = "pl031"
[device.clock]
bus = "amba"
host = "clock"
"""
GUESTLESS = '[guest]\nkind = "none"\n'
SUITE = '[check.suite]\nuse = "conform"\ndevice = "clock"\n'


def written(directory: Path, text: str) -> Path:
    file = directory / "s.toml"
    file.write_text(text)
    return file


def told(directory: Path, text: str, *overrides: str) -> list[str]:
    """What is wrong with a scenario, each without its file."""
    with pytest.raises(ScenarioError) as caught:
        load(written(directory, text), overrides)
    return [line.removeprefix(f"{directory / 's.toml'}:") for line in str(caught.value).splitlines()]


def test_it_has_no_guest_and_says_so_again(tmp_path: Path) -> None:
    scenario = load(written(tmp_path, RIG + GUESTLESS + SUITE))
    assert not scenario.has_guest
    assert isinstance(scenario.guest, NoGuest)
    assert resolved(scenario)["guest"] == {"kind": "none"}
    again = tmp_path / "scenario.json"
    again.write_text(json.dumps(resolved(scenario)))
    assert load(again) == scenario


def test_one_with_a_guest_says_that_too(tmp_path: Path) -> None:
    text = '[guest]\nkind = "vm"\n[check.a]\nuse = "command"\ncommand = "x"\n'
    scenario = load(written(tmp_path, RIG.replace("amba", "platform") + text))
    assert (scenario.has_guest, scenario.guest.machine, resolved(scenario)["guest"]["kind"]) == (True, "virt", "vm")


def test_keys_of_a_guest_are_told_with_their_lines(tmp_path: Path) -> None:
    text = GUESTLESS + 'kernel = "own"\nmodules = ["x"]\n' + SUITE
    assert told(tmp_path, text + RIG) == [
        '3: guest.kernel: is of a guest, and the scenario has none ([guest] kind = "none"); its host\'s is host.kernel',
        '4: guest.modules: is of a guest, and the scenario has none ([guest] kind = "none")',
    ]
    (line,) = told(tmp_path, RIG + GUESTLESS + SUITE, "host.qemu=auto")
    assert line.startswith("--set host.qemu=auto: host.qemu: is the QEMU of a guest, and the scenario has none")
    (line,) = told(tmp_path, RIG + "properties = { x-a = 1 }\n" + GUESTLESS + SUITE)
    assert "device.clock.properties: are of a guest's device, and the scenario has no guest" in line


@pytest.mark.parametrize(
    ("check", "key", "what"),
    [
        ('use = "dmesg"', "use", 'is "dmesg", which needs a guest'),
        ('use = "dma"\ndevice = "clock"', "use", 'is "dma", which needs a guest'),
        (SUITE.partition("\n")[2] + 'modules = ["x"]', "modules", "are for a guest"),
    ],
)
def test_checks_that_need_a_guest_are_told(check: str, key: str, what: str, tmp_path: Path) -> None:
    (line,) = told(tmp_path, f"{RIG}{GUESTLESS}[check.x]\n{check}\n")
    assert f"check.x.{key}: {what}, and" in line


def test_a_device_cannot_be_unplugged_from_no_guest(tmp_path: Path) -> None:
    program = tmp_path / "p"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = '[check.x]\nuse = "host-command"\nprogram = "p"\ndevice = "clock"\n'
    assert load(written(tmp_path, RIG + GUESTLESS + text)).check["x"].use == "host-command"
    (line,) = told(tmp_path, RIG + GUESTLESS + text + "unplugged = true\n")
    assert "check.x.unplugged: is for a guest's device" in line


def test_a_check_of_the_users_says_that_it_needs_no_guest(tmp_path: Path) -> None:
    text = """
from typing import ClassVar
from passthru.check.options import CheckOptions
class Options(CheckOptions):
    {}
async def judge(context, options): ...
"""
    scenario = f'{RIG}{GUESTLESS}[check.x]\nuse = "{{}}"\n'
    (tmp_path / "needing.py").write_text(text.format("pass"))
    (tmp_path / "content.py").write_text(text.format("without_guest: ClassVar[bool] = True"))
    assert load(written(tmp_path, scenario.format("content.py"))).check
    (line,) = told(tmp_path, scenario.format("needing.py"))
    assert "which needs a guest, and there is none" in line


def test_a_device_server_is_for_a_guest(tmp_path: Path) -> None:
    (line,) = told(tmp_path, f'{GUESTLESS}[device.card]\nbus = "vfio-user"\nmodel = "mtty"\n')
    assert 'device.card.bus: is "vfio-user", whose server is for a guest' in line


def test_the_suite_is_for_devices_that_no_guest_has(tmp_path: Path) -> None:
    (line,) = told(tmp_path, RIG + SUITE)
    assert (
        'check.suite.use: is "conform", which opens the device itself, and VFIO gives it to one user at a time' in line
    )


def test_the_stub_is_one_file_that_is_brought_along(tmp_path: Path) -> None:
    stub = (
        "from passthru.vfio.stubs.stub import Stub\n{}\nclass Mine(Stub):\n    @classmethod\n"
        "    def matches(cls, identity): return True\n"
    )
    (tmp_path / "mine.py").write_text(stub.format(""))
    scenario = load(written(tmp_path, RIG + GUESTLESS + SUITE + 'stub = "mine.py:Mine"\n'))
    options = scenario.check["suite"]
    assert options.brings == (str(tmp_path / "mine.py"),)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "two.py").write_text(stub.format("import beside"))
    (line,) = told(tmp_path, RIG + GUESTLESS + SUITE, f"check.suite.stub={tmp_path / 'two.py'}")
    assert "imports beside.py from beside it; the stub of a scenario is one file" in line
    (line,) = told(tmp_path, RIG + GUESTLESS + SUITE, "check.suite.stub=none.py")
    assert "check.suite.stub: names no stub" in line


def test_a_shell_of_no_guest_is_refused_in_one_sentence(tmp_path: Path) -> None:
    scenario = load(written(tmp_path, RIG + GUESTLESS + SUITE))
    with pytest.raises(UserMistake, match=r'^s has no guest \(\[guest\] kind = "none"\); do this$'):
        demand_guest(scenario, "do this")


def test_each_bus_is_judged_on_its_host_by_both_kernels() -> None:
    found: dict[str, set[str]] = {}
    for name in names():
        scenario = load(find(name)[0])
        if (
            not scenario.has_guest
            and isinstance(scenario.host, RigHost)
            and any(check.use == "conform" for check in scenario.check.values())
        ):
            for device in scenario.passed_through.values():
                found.setdefault(device.bus, set()).add(scenario.host.kernel)
    both = {"debian:bookworm", "debian:bookworm-backports"}
    assert found == {"amba": both, "platform": both, "fsl-mc": both}
