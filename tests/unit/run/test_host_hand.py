# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand on the host, with a real worker: programs, their outputs, their ends."""

from __future__ import annotations

import os
import select
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, Unusable
from passthru.host import open_local_host
from passthru.run.host_hand import HostPrograms, facts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.check.host_hand import HostHand


def ended(pid: int) -> bool:
    """Whether a process has ended, or does soon; nobody may have waited for it yet."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 10)[0])
    finally:
        os.close(pidfd)


def a_hand_for_checks(hand: HostPrograms) -> HostHand:
    """Type-checked only: this is what checks expect."""
    return hand


@pytest.fixture
async def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HostPrograms]:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as scratch:
        monkeypatch.setenv("TMPDIR", scratch)
        async with open_local_host(deadline=Deadline.after(20)) as host:
            yield HostPrograms(host, tmp_path, {"d": {"address": "0000:00:05.0"}})


async def test_output_errors_status_and_environment(hand: HostPrograms, tmp_path: Path) -> None:
    done = await hand.run(["sh", "-c", "echo $A; echo no >&2; exit 3"], env={"A": "b c"}, deadline=Deadline.after(20))
    assert (done.stdout, done.stderr, done.status) == (b"b c\nno\n", b"", 3)
    assert (tmp_path / "host-1-sh.log").read_bytes() == done.stdout
    assert (await hand.run(["true"], env={}, deadline=Deadline.after(20))).stdout == b""


async def test_a_program_that_a_signal_kills_has_a_negative_status(hand: HostPrograms) -> None:
    assert (await hand.run(["sh", "-c", "kill -SEGV $$"], env={}, deadline=Deadline.after(20))).status == -11


async def test_a_program_that_does_not_end_is_killed_with_all_that_came_of_it(hand: HostPrograms) -> None:
    command = 'sleep 1000 & echo "$!"; echo last; wait'
    with pytest.raises(DeadlineExceeded) as raised:
        await hand.run(["sh", "-c", command], env={}, deadline=Deadline.after(0.5))
    pid, last = raised.value.last_lines
    assert last == "last"
    assert ended(int(pid))


async def test_what_a_program_leaves_behind_is_killed(hand: HostPrograms) -> None:
    left = await hand.run(["sh", "-c", 'sleep 1000 >/dev/null & echo "$!"'], env={}, deadline=Deadline.after(20))
    assert ended(int(left.stdout))


async def test_a_program_that_is_not_there_is_told(hand: HostPrograms) -> None:
    with pytest.raises(Unusable, match="nowhere"):
        await hand.run(["/nowhere/probe"], env={}, deadline=Deadline.after(20))


async def test_places_and_facts(hand: HostPrograms) -> None:
    assert hand.path_of(Path("/bin/sh")) == "/bin/sh"
    assert hand.facts("d") == {"address": "0000:00:05.0"}
    assert hand.facts("e") == {}


@dataclass(frozen=True)
class Made:
    bus: str
    address: str
    qemu: dict[str, str] = field(default_factory=dict)
    uuid: str | None = None
    group: str | None = None
    cdev: str | None = None
    driver: str | None = None


def test_what_is_known_of_devices() -> None:
    pci = Made(
        "pci", "0000:00:05.0", {"host": "0000:00:05.0"}, group="7", cdev="/dev/vfio/devices/vfio0", driver="serial"
    )
    assert facts_of(pci) == {
        "bus": "pci",
        "address": "0000:00:05.0",
        "group": "7",
        "vfio_group": "/dev/vfio/7",
        "cdev": "/dev/vfio/devices/vfio0",
        "sysfs": "/sys/bus/pci/devices/0000:00:05.0",
        "driver": "serial",
    }
    uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
    mdev = Made("mdev", "", {"sysfsdev": f"/sys/bus/mdev/devices/{uuid}"}, uuid=uuid, group="0")
    assert facts_of(mdev) == {
        "bus": "mdev",
        "address": uuid,
        "uuid": uuid,
        "group": "0",
        "vfio_group": "/dev/vfio/0",
        "sysfs": f"/sys/bus/mdev/devices/{uuid}",
    }
    clock = Made("amba", "9010000.pl031", {"host": "9010000.pl031"}, group="1", driver="rtc-pl031")
    assert facts_of(clock) == {
        "bus": "amba",
        "address": "9010000.pl031",
        "group": "1",
        "vfio_group": "/dev/vfio/1",
        "sysfs": "/sys/bus/amba/devices/9010000.pl031",
        "driver": "rtc-pl031",
    }
