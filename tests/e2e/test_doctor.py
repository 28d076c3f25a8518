# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru doctor``: what this machine can run, and what each missing thing would take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from passthru.image.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command


def state_of(told: str, what: str) -> str:
    """The state in the line about ``what``."""
    rows = (line.split(maxsplit=1) for line in told.splitlines()[1:])
    return next(row[0] for row in rows if row[1].startswith(what))


def test_a_machine_that_ran_the_scenario_is_ready_for_it(passthru: Command) -> None:
    assert passthru("fetch", "mtty").status == 0
    ended = passthru("doctor", "mtty")
    assert ended.status == 0, ended
    for what in ("python", "cache", "packages", "bus vfio-user", "kernel", "processors"):
        assert state_of(ended.stdout, what) == "ready", ended
    assert state_of(ended.stdout, "kvm") in ("ready", "slower")


def test_an_empty_cache_says_what_the_first_run_fetches_and_stays_empty(passthru: Command, tmp_path: Path) -> None:
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    ended = passthru("doctor", "mtty")
    assert ended.status == 0, ended
    assert state_of(ended.stdout, "bus vfio-user") == "later"
    assert state_of(ended.stdout, "kernel") == "later"
    assert "passthru fetch" in ended.stdout
    assert not (tmp_path / "cache").exists()


def test_an_own_kernel_that_was_not_built_yet(passthru: Command, tmp_path: Path) -> None:
    """How long it will take is said before it is begun."""
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "cache")}
    ended = passthru("doctor", "mtty", "--kernel", "own")
    assert ended.status == 0, ended
    assert state_of(ended.stdout, "kernel") == "later"
    assert re.search(r"the first run builds it, in about \d+ minutes; `passthru fetch`", ended.stdout), ended
    assert not (tmp_path / "cache").exists()


def test_what_is_missing_is_named_with_its_remedy(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "file" / "cache")}
    ended = passthru("doctor")
    assert ended.status == 125, ended
    assert state_of(ended.stdout, "cache") == "missing"
    assert "PASSTHRU_CACHE" in ended.stdout


def test_a_kernel_or_qemu_that_will_not_do(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("none")
    passthru.environment = {"PASSTHRU_CACHE": str(Store().root)}
    for option, what in (("--qemu", "qemu"), ("--kernel", "kernel")):
        ended = passthru("doctor", "mtty", option, str(tmp_path / "none"))
        assert ended.status == 125, ended
        assert state_of(ended.stdout, what) == "missing", ended


def test_bad_input(passthru: Command) -> None:
    assert passthru("doctor", "no-such-scenario").status == 2


RIG = """
[host]
kind = "rig"
modules = {modules}
[device.mtty0]
bus = "mdev"
parent = "mtty"
type = "mtty-2"
[check.log]
use = "dmesg"
"""


def test_what_the_first_run_of_a_rig_gets(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(RIG.format(modules='["mtty"]'))
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    ended = passthru("doctor", str(tmp_path / "rig.toml"))
    assert ended.status == 0, ended
    for what in ("bus mdev", "kernel", "emulator", "rig's kernel", "rig ", "module mtty"):
        assert state_of(ended.stdout, what) == "later", (what, ended)
    assert "iommu" not in ended.stdout  # this machine's, which a rig does not need
    assert not (tmp_path / "cache").exists()


def test_a_module_that_nobody_can_build_for_a_rig(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(RIG.format(modules='["./none-here"]'))
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "cache")}
    ended = passthru("doctor", str(tmp_path / "rig.toml"))
    assert ended.status == 125, ended
    assert "none-here" in ended.stdout


def test_what_this_machine_offers_is_told_without_a_scenario(passthru: Command) -> None:
    ended = passthru("doctor")
    assert ended.status == 0, ended
    for what in ("iommu", "vfio", "mdev"):
        assert state_of(ended.stdout, what) in ("ready", "absent"), ended
