# SPDX-License-Identifier: GPL-2.0-or-later
"""The process beside a rig's QEMU: when it is ready, how it ends, and what its RAM is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble
from passthru.host.rig_devices import SharedRam, devices_in, how_it_ended, memory_file
from passthru.qemu import shared_ram

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.host import Host

SECONDS = 20.0
PLACEHOLDER = "{ram}"


def shared(tmp_path: Path, *, ready: str = "{stream:ready}", mebibytes: int = 1024, model: str = "") -> SharedRam:
    """A board with an SMMU, and a device ``model``."""
    board = {
        "ram": {"path": PLACEHOLDER, "size": mebibytes << 20, "base": shared_ram.RAM_BASE},
        "qtest": "{socket:qtest}",
        "qmp": "{socket:qmp}",
        "smmu": {"address": shared_ram.SMMU, "global_spi": 80, "context_spis": [81]},
        "devices": {"it": {"model": model, "regions": [0x7FC00000]}} if model else {},
        "ready": ready,
    }
    return SharedRam(mebibytes, PLACEHOLDER, json.dumps(board).replace(f'"{ready}"', ready), tmp_path / "devices.log")


async def test_it_is_ready_when_ram_holds_what_a_kernel_must_find(
    host: Host, tmp_path: Path, dies: Callable[[int], bool]
) -> None:
    with memory_file(1024) as path:
        async with devices_in(shared(tmp_path), path, host, Deadline.after(SECONDS)) as child:
            with Path(path).open("rb") as ram:
                ram.seek(shared_ram.SMMU - shared_ram.RAM_BASE + 0x20)
                assert int.from_bytes(ram.read(4), "little") & 0xFFFF == 0x5E20  # ID0
            pid = child.pid
        assert dies(pid)
    assert not Path(path).exists()


async def test_one_that_cannot_begin_is_the_devices_trouble(host: Host, tmp_path: Path) -> None:
    with memory_file(1024) as path, pytest.raises(GuestTrouble) as caught:
        async with devices_in(shared(tmp_path, model="mtty"), path, host, Deadline.after(SECONDS)):
            pass
    assert caught.value.culprit == "device"
    assert "the process of the rig's shared RAM exited with status 2 and said: device it: mtty" in str(caught.value)


async def test_one_that_says_nothing_is_not_waited_for_for_ever(host: Host, tmp_path: Path) -> None:
    silent = shared(tmp_path, ready="null")
    with memory_file(1024) as path, pytest.raises(DeadlineExceeded, match="the devices in the rig's shared RAM"):
        async with devices_in(silent, path, host, Deadline.after(1.0)):
            pass


def test_how_it_ended_has_its_last_words(tmp_path: Path) -> None:
    spec = shared(tmp_path)
    assert how_it_ended("exited with status 1", spec) == "exited with status 1"
    spec.output.write_bytes(b"one\nthe last\n\n")
    assert how_it_ended("exited with status 1", spec) == "exited with status 1 and said: the last"
