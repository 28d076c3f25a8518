# SPDX-License-Identifier: GPL-2.0-or-later
"""What the process of a rig's shared RAM is told, and what QEMU is: they must agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passthru.emulation.shared_ram.board import parse_board
from passthru.emulation.shared_ram.command import READY
from passthru.qemu import shared_ram
from passthru.run.rig_devices import RAM, board_of, by_hand, qemu_arguments
from passthru.scenario.hosts import RigHost
from passthru.scenario.loading import load

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
[host]
kind = "rig"
arch = "arm64"
iommu = "ram-smmuv2"
memory = "1G"
[host.hardware.copy]
model = "copy-engine"
options = { defect = "none" }
[check.a]
use = "command"
command = "x"
"""
COMPLEX = '[host.hardware.mc]\nmodel = "management-complex"\n'


def host(tmp_path: Path, more: str = "") -> RigHost:
    (tmp_path / "s.toml").write_text(TEXT + more)
    found = load(tmp_path / "s.toml").host
    assert isinstance(found, RigHost)
    return found


def test_the_board_is_one_that_the_process_reads(tmp_path: Path) -> None:
    rig = host(tmp_path, COMPLEX)
    text = board_of(rig, rig.seats)
    assert '"ready": {stream:ready}' in text
    board = parse_board(text.replace("{stream:ready}", "7"))
    assert (board.ready, board.ram.path, board.ram.size) == (7, RAM, 1 << 30)
    assert board.smmu is not None
    assert board.smmu.address == shared_ram.SMMU
    assert set(board.devices) == {"copy", "mc"}
    assert (board.devices["copy"].options, board.devices["copy"].spis) == ({"defect": "none"}, [102])
    assert board.messages is not None
    assert board.messages.streams == [board.devices["mc"].stream + 1]


def test_only_a_complex_has_messages(tmp_path: Path) -> None:
    rig = host(tmp_path)
    assert "messages" not in json.loads(board_of(rig, rig.seats, told=False))


def test_both_sides_meet_at_the_same_sockets(tmp_path: Path) -> None:
    rig = host(tmp_path)
    board = json.loads(board_of(rig, rig.seats, told=False))
    words = " ".join(qemu_arguments())
    assert f"-qtest unix:{board['qtest']},server=on,wait=off" in words
    assert f"path={board['qmp']},server=on,wait=off -qmp chardev:devices" in words


def test_a_script_waits_until_it_says_that_it_is_ready(tmp_path: Path) -> None:
    rig = host(tmp_path)
    companion = by_hand(rig, rig.seats)
    assert companion.says == READY
    assert "ready" not in json.loads(companion.argv[-1])
