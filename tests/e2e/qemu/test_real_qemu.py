# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU itself: asked, moved, booted, watched over QMP, and started by hand."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.events import tell_nobody
from passthru.host import ChildSpec, open_local_host
from passthru.image.store import Store
from passthru.qemu import debian, probe
from passthru.qemu.accelerator import Accelerator, choose, tcg
from passthru.qemu.argv import Vm, command_line, guest_argv, streams, vfio_user
from passthru.qemu.binary import Candidate
from passthru.qemu.find import find, list_all
from passthru.qemu.qmp import QmpRefused, connected
from passthru.qemu.script import Companion, qemu_sh
from passthru.qemu.trial import first_line_under

if TYPE_CHECKING:
    import socket

    from passthru.image.kernel import Kernel
    from passthru.qemu.binary import Qemu

SECONDS = 120.0
MTTY = Companion("mtty0", (sys.executable, "-m", "passthru.emulation", "mtty", "--listen-fd", "{listen:mtty0}"))


def test_it_says_what_it_can_do_and_is_asked_once(qemu: Qemu, tmp_path: Path) -> None:
    candidate = Candidate(qemu.source, qemu.command, qemu.identity, qemu.env, qemu.root)
    asked = probe.ask(candidate, Store(tmp_path))
    assert asked == qemu
    assert "vfio-user-pci" in asked.devices
    assert {"pc", "q35"} <= asked.machines
    assert "tcg" in asked.accelerators
    assert asked.arch == "x86_64"
    assert int(asked.version.split(".")[0]) >= 10
    assert probe.recalled(candidate, Store(tmp_path)) == asked


def test_it_is_on_the_list(qemu: Qemu, store: Store) -> None:
    assert qemu in [line.qemu for line in list_all(store)]


def test_a_moved_cache_still_has_it(qemu: Qemu, store: Store, tmp_path: Path) -> None:
    entries = [store.aliased("qemu", alias["name"]) for alias in store.aliases() if alias["alias"] == "qemu"]
    entry = next((entry for entry in entries if entry and qemu.identity.startswith(entry.digest[:40])), None)
    if entry is None:
        pytest.skip("this machine's own QEMU is used: none was fetched")
    moved = Store(tmp_path / "moved")
    link_tree(entry.path.parent, moved.home(entry.kind, entry.digest))
    there = moved.by_digest(entry.kind, entry.digest)
    assert there
    moved.set_alias("qemu", f"{qemu.source.removeprefix('debian:')}/x86_64", there)
    found = find(qemu.source, ("vfio-user-pci",), moved, tell_nobody)
    assert found.command[0].startswith(str(tmp_path))
    assert found.devices == qemu.devices
    assert [candidate.identity for candidate in debian.in_cache(moved)] == [qemu.identity]


def link_tree(old: Path, new: Path) -> None:
    """A copy that shares the files' content where the filesystem allows it."""
    same = ["cp", "-al", str(old), str(new)]
    new.parent.mkdir(parents=True)
    if subprocess.run(same, capture_output=True, timeout=SECONDS, check=False).returncode:
        subprocess.run(["cp", "-a", str(old), str(new.parent)], timeout=SECONDS, check=True)


async def read_whole(stream: socket.socket, deadline: Deadline) -> bytes:
    """All that comes. A console that nobody reads stops its guest after a few hundred bytes."""
    seen = b""
    async with deadline.waiting_for("the end of the console"):
        while data := await asyncio.get_running_loop().sock_recv(stream, 65536):
            seen += data
    return seen


async def test_a_guest_boots_with_a_device_and_is_watched(
    qemu: Qemu, kernel: Kernel, floor: Path, tmp_path: Path
) -> None:
    vm = Vm(kernel.image, floor, command_line(), devices=(vfio_user("mtty0", "mtty0", dma=False),))
    deadline = Deadline.after(SECONDS)
    output = tmp_path / "qemu.out"
    async with open_local_host(deadline=deadline) as host:
        await host.start(ChildSpec(MTTY.name, MTTY.argv, listens=("mtty0",)))
        argv = guest_argv(qemu, tcg(), vm)
        child = await host.start(ChildSpec("qemu", argv, qemu.env, streams=streams(vm), output=output))
        async with connected(child.streams["qmp"], deadline=deadline, transcript=tmp_path / "qmp.log") as qmp:
            (bus,) = await qmp.execute("query-pci")
            slots = {device["slot"]: (device["id"]["vendor"], device["id"]["device"]) for device in bus["devices"]}
            assert slots[5] == (0x4348, 0x3253)
            assert slots[4] == (0x1AF4, 0x1003)
            with pytest.raises(QmpRefused, match="device_add"):
                await qmp.execute("device_add", {"driver": "no-such-device"})
            down = asyncio.create_task(qmp.wait_for({"SHUTDOWN"}, deadline))
            log = await read_whole(child.streams["ttyS0"], deadline)
            assert b"Linux version" in log
            assert b"FIRST-LINE" in log
            assert (await down).data["reason"] == "guest-shutdown"
            async with deadline.waiting_for("the end of the QMP session"):
                await qmp.ended
        assert (await child.wait(deadline)).code == 0
    assert output.read_text() == ""
    transcript = (tmp_path / "qmp.log").read_text()
    assert '"SHUTDOWN"' in transcript
    assert '"query-pci"' in transcript


async def test_a_panic_ends_qemu_at_once(qemu: Qemu, kernel: Kernel, tmp_path: Path) -> None:
    vm = Vm(kernel.image, None, command_line(), lines=())
    deadline = Deadline.after(SECONDS)
    async with open_local_host(deadline=deadline) as host:
        argv = guest_argv(qemu, tcg(), vm)
        child = await host.start(ChildSpec("qemu", argv, qemu.env, streams=streams(vm), output=tmp_path / "out"))
        log = await read_whole(child.streams["ttyS0"], deadline)
        assert b"Kernel panic - not syncing" in log
        ended = await child.wait(deadline)
    assert (ended.code, ended.signal) == (0, None)


def test_a_trial_tells_what_became_of_its_guest(qemu: Qemu, kernel: Kernel, floor: Path) -> None:
    assert first_line_under(qemu, tcg(), kernel.image, floor, SECONDS) == ""
    paused = Accelerator("tcg", 1.0, ("-accel", "tcg", "-S"))
    assert first_line_under(qemu, paused, kernel.image, floor, SECONDS) == (
        "a short guest under TCG was stopped (prelaunch)"
    )
    wrong = Accelerator("tcg", 1.0, ("-accel", "tcg", "-cpu", "z80"))
    assert "exited with status 1: " in first_line_under(qemu, wrong, kernel.image, floor, SECONDS)


def test_the_accelerator_is_chosen_with_a_reason_and_remembered(
    qemu: Qemu, kernel: Kernel, floor: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    chosen = choose("auto", qemu, kernel, lambda: floor, store, tell_nobody)
    assert chosen.name in ("kvm", "tcg")
    assert chosen.reason

    def no_trial() -> Path:
        raise AssertionError("a second trial")

    assert choose("auto", qemu, kernel, no_trial, store, tell_nobody) == chosen
    # What was chosen boots.
    assert first_line_under(qemu, chosen, kernel.image, floor, SECONDS) == ""


def test_qemu_sh_starts_the_guest_with_its_companion(qemu: Qemu, kernel: Kernel, floor: Path, tmp_path: Path) -> None:
    vm = Vm(kernel.image, floor, command_line("note='a b'"), devices=(vfio_user("mtty0", "mtty0"),))
    script = tmp_path / "qemu.sh"
    script.write_text(qemu_sh(qemu, tcg(), vm, [MTTY]))
    with subprocess.Popen(
        ["sh", str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as child:
        said, complaints = child.communicate(timeout=SECONDS)
    assert "FIRST-LINE" in said
    assert "note='a b'" in said
    assert child.returncode == 0, complaints
    (told,) = complaints.splitlines()  # that the sockets are in a directory, and no complaint of QEMU or the server
    assert not Path(told.partition(" in ")[2]).exists()
