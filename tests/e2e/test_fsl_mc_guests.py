# SPDX-License-Identifier: GPL-2.0-or-later
"""A DPAA2 container of a rig in a guest, as a user runs it: on both kernels, and the process in between killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passthru.resources import directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command

KILL = """\
#!/bin/sh
for process in /proc/[0-9]*; do
  case $(tr '\\0' ' ' <$process/cmdline) in *python*fsl_mc_bridge*) kill -9 ${process#/proc/} ;; esac
done 2>/dev/null
sleep 60
"""


def test_a_guest_has_a_container_as_its_root(passthru: Command) -> None:
    ended = passthru("run", "fsl-mc-guest-6.12")
    assert ended.status == 0, ended
    assert passthru.left_running() == []


def test_the_death_of_what_stands_between_is_the_devices(passthru: Command, tmp_path: Path) -> None:
    """On the older kernel; what the guest has is judged before."""
    program = tmp_path / "kill.sh"
    program.write_text(KILL)
    program.chmod(0o755)
    include = json.dumps([str(directory("guests") / "fsl-mc-guest.toml")])
    kill = f'[check.kill]\nuse = "host-command"\nprogram = "{program}"\n'
    (tmp_path / "killed.toml").write_text(f"include = {include}\n{kill}")
    ended = passthru("run", str(tmp_path / "killed.toml"))
    assert ended.status == 1, ended
    verdicts = {check: finding["verdict"] for check, finding in ended.findings().items()}
    assert verdicts == {"held": "passed", "container": "passed", "dmesg": "passed", "kill": "failed"}
    assert ended.findings()["kill"]["summary"].startswith("the device server net was killed by SIGKILL")
    assert passthru.left_running() == []


def test_a_way_that_is_not_there_is_refused_before_anything_starts(passthru: Command) -> None:
    ended = passthru("run", "fsl-mc-guest", "--set", "device.net.container=iommufd")
    assert ended.status == 2, ended
    assert 'holds device.net by its VFIO group; take container = "type1"' in ended.stderr
    assert ended.events("worker-started") == []
