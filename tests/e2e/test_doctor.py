# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru doctor``: what this machine can run, and what each missing thing would take."""

from __future__ import annotations

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
