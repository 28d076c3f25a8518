# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading scenarios: what is read, merged, overridden and filled in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from passthru.errors import ScenarioError
from passthru.scenario.library import names
from passthru.scenario.loading import load, resolved

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """\
[device.card]
bus = "vfio-user"
model = "mtty"

[check.says]
use = "command"
device = "card"
command = "echo hi"
"""


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    scenario = load(written(tmp_path / "small.toml", MINIMAL))
    assert scenario.name == "small"
    assert scenario.subject == ("device",)
    assert scenario.deadline == 60
    assert scenario.host.kind == "local"
    guest = scenario.guest
    assert (guest.kernel, guest.qemu, guest.accel) == ("debian:bookworm/cloud", "auto", "auto")
    assert (guest.machine, guest.memory, guest.cpus, guest.image) == ("pc", 256, 1, "guest")
    card = scenario.device["card"]
    assert (card.bus, card.model, card.guest_address) == ("vfio-user", "mtty", "0000:00:05.0")
    assert card.options == {"ports": 2, "fifo": "faithful"}
    assert scenario.check["says"].timeout == 30


def test_devices_without_an_address_get_free_slots_in_their_order(tmp_path: Path) -> None:
    tables = "".join(
        f'[device.d{number}]\nbus = "vfio-user"\nmodel = "mtty"\n' + ('address = "06.0"\n' if number == 0 else "")
        for number in range(3)
    )
    scenario = load(written(tmp_path / "s.toml", tables))
    assert [device.address for device in scenario.device.values()] == ["06.0", "05.0", "07.0"]


def test_parts_are_merged_by_id_and_the_including_file_wins(tmp_path: Path) -> None:
    written(tmp_path / "parts" / "checks.toml", MINIMAL + 'timeout = 5\n[guest]\nmodules = ["a", "b"]\ncpus = 2\n')
    written(tmp_path / "parts" / "more.toml", 'include = ["checks.toml"]\n[check.says]\ncommand = "echo more"\n')
    main = 'include = ["parts/more.toml"]\n[check.says]\ntimeout = 7.5\n[guest]\nmodules = ["c"]\n'
    scenario = load(written(tmp_path / "main.toml", main))
    assert scenario.name == "main"
    says = scenario.check["says"]
    assert (says.timeout, getattr(says, "command", None), says.device) == (7.5, "echo more", "card")
    assert scenario.guest.modules == ("c",)
    assert scenario.guest.cpus == 2


def test_later_parts_win_over_earlier_ones_and_keep_the_order_of_checks(tmp_path: Path) -> None:
    one = '[check.a]\nuse = "command"\ncommand = "a1"\n[check.b]\nuse = "command"\ncommand = "b1"\n'
    written(tmp_path / "one.toml", one)
    written(tmp_path / "two.toml", '[check.c]\nuse = "command"\ncommand = "c2"\n[check.a]\ncommand = "a2"\n')
    scenario = load(written(tmp_path / "main.toml", 'include = ["one.toml", "two.toml"]\n'))
    assert [(name, getattr(check, "command", None)) for name, check in scenario.check.items()] == [
        ("a", "a2"), ("b", "b1"), ("c", "c2"),
    ]  # fmt: skip


def test_a_part_may_be_included_twice_by_different_ways(tmp_path: Path) -> None:
    written(tmp_path / "base.toml", MINIMAL)
    written(tmp_path / "a.toml", 'include = ["base.toml"]\n')
    written(tmp_path / "b.toml", 'include = ["base.toml"]\n')
    assert load(written(tmp_path / "main.toml", 'include = ["a.toml", "b.toml"]\n')).check.keys() == {"says"}


@pytest.mark.parametrize("text", ["256M", "256MB", "0.25G", "256", "G", "0M", ""])
def test_memory_is_written_with_its_unit(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "s.toml", MINIMAL + f'[guest]\nmemory = "{text}"\n')
    if text == "256M":
        assert load(path).guest.memory == 256
    else:
        with pytest.raises(ScenarioError, match='should be an amount with its unit, such as "256M" or "1G"'):
            load(path)


def test_gigabytes_become_mebibytes(tmp_path: Path) -> None:
    assert load(written(tmp_path / "s.toml", MINIMAL + '[guest]\nmemory = "2G"\n')).guest.memory == 2048


def test_a_scenario_is_frozen(tmp_path: Path) -> None:
    scenario = load(written(tmp_path / "s.toml", MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        scenario.summary = "other"


def test_overrides_are_values_of_toml_or_words(tmp_path: Path) -> None:
    path = written(tmp_path / "s.toml", MINIMAL)
    texts = ["device.card.ports=1", "guest.kernel=debian:trixie", "guest.cpus = 3", 'guest.quirks=["a.*b"]']
    texts += ["check.says.command='echo a=b'", 'check."says".timeout=2.5', "guest.cmdline=quiet a=b"]
    scenario = load(path, texts)
    assert scenario.device["card"].options["ports"] == 1
    assert scenario.guest.kernel == "debian:trixie"
    assert scenario.guest.cpus == 3
    assert scenario.guest.quirks == ("a.*b",)
    assert scenario.guest.cmdline == "quiet a=b"
    assert scenario.check["says"].timeout == 2.5
    assert getattr(scenario.check["says"], "command", None) == "echo a=b"


def test_the_last_override_of_a_key_wins_and_tables_can_be_made(tmp_path: Path) -> None:
    path = written(tmp_path / "s.toml", MINIMAL)
    texts = ["guest.cpus=2", "guest.cpus=4", "check.new.use=command", "check.new.command=uptime"]
    scenario = load(path, texts)
    assert scenario.guest.cpus == 4
    assert list(scenario.check) == ["says", "new"]


@pytest.mark.parametrize("name", list(names()))
def test_every_scenario_that_comes_along_survives_being_resolved(name: str, tmp_path: Path) -> None:
    from passthru.scenario.library import find

    (path,) = find(name)
    scenario = load(path, ["guest.memory=1G"] if load(path).has_guest else ["deadline=100"])
    file = written(tmp_path / "scenario.json", json.dumps(resolved(scenario), indent=2))
    assert load(file) == scenario
    assert scenario.name == name
    assert scenario.summary


def test_the_main_scenario_has_the_ids_that_its_users_rely_on() -> None:
    from passthru.scenario.library import find

    (path,) = find("mtty")
    scenario = load(path, ["check.loopback.bytes=16", "device.mtty0.ports=1"])
    assert getattr(scenario.check["loopback"], "bytes", None) == 16
    assert scenario.check["loopback"].use == "serial-loopback"
    assert scenario.device["mtty0"].options == {"ports": 1, "fifo": "faithful"}
    assert {check.use for check in scenario.check.values()} >= {
        "lspci", "setserial", "serial-loopback", "interrupts", "dmesg", "command",
    }  # fmt: skip
