# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests that die, hang or complain: whoever waits hears of it at once, and why.

That a wait ends by trouble and not by its time-out is what makes it "at once": the time-outs here are long."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import GuestTrouble
from passthru.guest.dialogue import EOF, Dialogue
from passthru.guest.guest import Silence
from tests.e2e.guest.machine import Parts, booted, started

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = "while :; do :; done"


async def test_a_panic_is_noticed_and_recorded(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(GuestTrouble, match="sysrq triggered crash") as caught:
        async with booted(parts, directory=tmp_path) as machine:
            await machine.guest.run(f"echo c >/proc/sysrq-trigger; {FOREVER}", timeout=60)
    assert caught.value.culprit == "guest-kernel"
    assert "Call Trace" in str(caught.value)
    assert [splat.kind for splat in machine.guest.kernel_log.splats] == ["panic"]
    log = (tmp_path / "ttyS0.log").read_bytes()
    assert b"Kernel panic - not syncing: sysrq triggered crash" in log
    header, *events = [json.loads(line) for line in (tmp_path / "ttyS0.cast").read_text().splitlines()]
    assert header["version"] == 2
    assert "".join(text for _, _, text in events).encode() == log
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)


async def test_a_panic_while_booting(parts: Parts) -> None:
    async with started(parts, "rdinit=/no-such-init", "root=/dev/none") as machine:
        with pytest.raises(GuestTrouble, match="Kernel panic - not syncing") as caught:
            await machine.guest.ready()
    assert caught.value.culprit == "guest-kernel"


async def test_a_panic_on_the_shared_line(parts: Parts) -> None:
    async with booted(parts, shared=True) as machine:
        with pytest.raises(GuestTrouble, match="sysrq triggered crash"):
            await machine.guest.run(f"echo c >/proc/sysrq-trigger; {FOREVER}", timeout=60)


async def test_every_wait_breaks_when_qemu_is_killed(parts: Parts) -> None:
    async with booted(parts) as machine:
        guest = machine.guest
        waits = [
            asyncio.create_task(wait)
            for wait in (guest.run(FOREVER, timeout=60), guest.wait_for_line("never said", timeout=60))
        ]
        await guest.run("true")
        await machine.qemu.signal(signal.SIGKILL)
        for wait in waits:
            with pytest.raises(GuestTrouble) as caught:
                await wait
            assert caught.value.culprit == "qemu"
        with pytest.raises(GuestTrouble):
            await guest.run("true")


async def test_a_guest_that_hangs_is_noticed_by_its_silence(parts: Parts) -> None:
    async with started(parts, silence=Silence(booting=10, answering=0.5)) as machine:
        await machine.guest.ready()
        os.kill(machine.qemu.pid, signal.SIGSTOP)
        with pytest.raises(GuestTrouble, match="hangs"):
            await machine.guest.run("true", timeout=60)


async def test_a_guest_that_hangs_while_booting(parts: Parts) -> None:
    async with started(parts, silence=Silence(booting=0.5, answering=5)) as machine:
        await machine.guest.kernel_log.wait_for("Linux version", Deadline.after(60))
        os.kill(machine.qemu.pid, signal.SIGSTOP)
        with pytest.raises(GuestTrouble, match="said nothing"):
            await machine.guest.ready()


async def test_a_guest_that_turns_itself_off(parts: Parts) -> None:
    async with booted(parts) as machine:
        with pytest.raises(GuestTrouble, match="turned itself off"):
            await machine.guest.run("busybox poweroff -f", timeout=60)


async def test_trouble_that_somebody_else_saw(parts: Parts) -> None:
    async with booted(parts) as machine:
        wait = asyncio.create_task(machine.guest.run(FOREVER, timeout=60))
        await machine.guest.run("true")
        machine.guest.trouble(GuestTrouble("device", "the device server mtty0 was killed"))
        with pytest.raises(GuestTrouble, match="mtty0") as caught:
            await wait
        assert caught.value.culprit == "device"


async def test_complaints_that_a_guest_survives(parts: Parts) -> None:
    async with booted(parts, "softlockup_panic=0") as machine:
        guest = machine.guest
        await guest.run(
            "for line in '------------[ cut here ]------------' 'WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2' "
            "'Call Trace:' ' f+0x1/0x2' '---[ end trace 0000000000000000 ]---'; do echo \"$line\" >/dev/kmsg; done"
        )
        await guest.wait_for_line("end trace")
        assert await guest.succeed("echo still here") == "still here\n"
        assert [(splat.kind, len(splat.lines)) for splat in guest.kernel_log.splats] == [("warning", 5)]


async def test_a_person_gets_a_shell_and_a_new_one_after_leaving(parts: Parts) -> None:
    async with booted(parts) as machine:
        deadline = machine.guest.deadline
        console = await machine.guest.shell_console(30, 100)
        dialogue = Dialogue(console)
        await dialogue.send_line()
        await dialogue.expect("guest# ", deadline)
        await dialogue.send_line("stty size; echo $((6 * 7))")
        await dialogue.expect(r"30 100\s+42\s", deadline)
        await dialogue.send_line("echo going; sleep 1000; echo not reached")
        await dialogue.expect(r"\ngoing", deadline)
        # Until the sleep has the terminal, Ctrl-C is the shell's, which waits for it all the same.
        has_it = "pid=$(pidof sleep) && set -- $(cat /proc/$pid/stat) && [ $5 = $8 ]"
        await machine.guest.succeed(f"until {has_it}; do :; done")
        await dialogue.send(b"\x03")
        await dialogue.expect("guest# ", deadline)
        assert b"\nnot reached" not in dialogue.before
        await dialogue.send_line("exit")
        await dialogue.expect("guest# ", deadline)
        await machine.guest.shell_console(40, 120)
        await dialogue.send_line("stty size")
        await dialogue.expect(r"40 120", deadline)
        assert (await machine.guest.run("echo beside")).stdout == b"beside\n"


async def test_the_shared_line_lends_itself_to_a_person(parts: Parts) -> None:
    async with booted(parts, shared=True) as machine:
        deadline = machine.guest.deadline
        dialogue = Dialogue(await machine.guest.shell_console(24, 80))
        await dialogue.send_line("echo $((6 * 7))")
        await dialogue.expect(r"42\s", deadline)
        await dialogue.send_line("exit")
        assert (await machine.guest.run("echo after")).stdout == b"after\n"


async def test_power_off(parts: Parts) -> None:
    async with booted(parts) as machine:
        dialogue = Dialogue(machine.guest.consoles["kernel"])
        await machine.guest.power_off()
        assert await dialogue.expect(["never", EOF], machine.guest.deadline) == 1
        assert (await machine.qemu.wait(machine.guest.deadline)).code == 0
        assert machine.guest.troubles.first is None
