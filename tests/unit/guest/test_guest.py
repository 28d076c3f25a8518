# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest played over real sockets: framing, deadlines, and everything that breaks a wait."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from passthru.errors import DeadlineExceeded, GuestTrouble, UserMistake
from passthru.events import Event, Note
from passthru.guest.commands import CommandFailed, CommandLost, CommandTimeout, Completed, OutputIncomplete
from passthru.guest.guest import Silence
from tests.unit.guest.peer import guest_and_peer, ready_guest

if TYPE_CHECKING:
    from pathlib import Path


async def test_outputs_are_counted_and_may_look_like_anything() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("a command"))
        assert await peer.request() == ["run", "1", "0", "a command"]
        out, err = b"end 1\nexit 1 0 0 0 ok\n\0\xff", b"hello 1 x y\n"
        answer = b"exit 1 3 %d %d ok\n" % (len(out), len(err)) + out + err + b"end 1\n"
        for position in range(len(answer)):
            peer.answer(answer[position : position + 1])
            await peer.agent_writer.drain()
        assert await run == Completed(out, err, 3)


async def test_answers_find_their_command_in_any_order() -> None:
    async with ready_guest() as (guest, peer):
        runs = [asyncio.create_task(guest.run(f"command {number}")) for number in range(3)]
        jobs = [(await peer.request())[1] for _ in runs]
        for job in reversed(jobs):
            peer.answer(f"exit {job} 0 {len(job)} 0 ok\n{job}end {job}\n")
        assert [(await run).text for run in runs] == jobs


async def test_a_long_script_comes_in_pieces() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("x " * 40000))
        verbs: list[str] = []
        script = ""
        while not verbs or verbs[-1] != "run":
            verb, _, index, piece = await peer.request()
            assert int(index) == len(verbs)
            assert piece == piece.strip()
            verbs.append(verb)
            script += piece.replace("\\0040", " ")
        assert verbs == ["text", "text", "run"]
        assert script == "x " * 40000
        peer.answer("exit 1 0 0 0 ok\nend 1\n")
        await run


async def test_time_out_kills_and_shows_what_was_printed() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("sleep 1000", timeout=0.01))
        assert (await peer.request())[0] == "run"
        assert await peer.request() == ["kill", "1"]
        peer.answer("exit 1 137 5 0 ok\nso faend 1\n")
        with pytest.raises(CommandTimeout, match="so fa") as caught:
            await run
        assert caught.value.stdout == b"so fa"
        assert isinstance(caught.value, DeadlineExceeded)


async def test_a_cancelled_command_is_killed() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("sleep 1000"))
        assert (await peer.request())[0] == "run"
        run.cancel()
        assert await peer.request() == ["kill", "1"]
        with pytest.raises(asyncio.CancelledError):
            await run


async def test_a_new_agent_means_that_commands_are_lost() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("kill -9 -1"))
        await peer.request()
        peer.answer("hello 1 second 6.1.0\n")
        with pytest.raises(CommandLost, match="kill -9 -1"):
            await run


async def test_lost_status_and_lost_output() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("kill -9 $PPID"))
        await peer.request()
        peer.answer("exit 1 lost 1 0 ok\nxend 1\n")
        with pytest.raises(CommandLost):
            await run
        run = asyncio.create_task(guest.run("cat /dev/zero"))
        await peer.request()
        peer.answer("exit 2 0 2 0 full\nxxend 2\n")
        with pytest.raises(OutputIncomplete) as caught:
            await run
        assert caught.value.completed.stdout == b"xx"


async def test_failure_shows_command_status_and_both_outputs() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.succeed("lspci -s 5"))
        await peer.request()
        peer.answer("exit 1 2 3 4 ok\nouterr.end 1\n")
        with pytest.raises(CommandFailed) as caught:
            await run
        for part in ("`lspci -s 5`", "status 2", "| out", "| err."):
            assert part in str(caught.value)


async def test_nonsense_of_the_agent_is_trouble() -> None:
    for nonsense in ("exit 1 zero 0 0 ok\n", "what is this\n", "exit 1 0 1 0 ok\nxxxxxxxx"):
        async with ready_guest() as (guest, peer):
            run = asyncio.create_task(guest.run("true"))
            await peer.request()
            peer.answer(nonsense)
            with pytest.raises(GuestTrouble, match="makes no sense"):
                await run


async def test_a_nul_byte_is_the_users_mistake() -> None:
    async with ready_guest() as (guest, _peer):
        with pytest.raises(UserMistake, match="NUL"):
            await guest.run("a\0b")


async def test_a_panic_breaks_every_wait_and_is_shown() -> None:
    async with ready_guest() as (guest, peer):
        waits = [asyncio.create_task(wait) for wait in (guest.run("true"), guest.wait_for_line("never"))]
        await peer.request()
        peer.say(
            "[    1.5] one\r\n[    1.6] Kernel panic - not syncing: Fatal exception\r\n[    1.7] CPU: 0 PID: 1\r\n"
        )
        for wait in waits:
            with pytest.raises(GuestTrouble, match="Fatal exception") as caught:
                await wait
            assert caught.value.culprit == "guest-kernel"
            assert "| CPU: 0 PID: 1" in str(caught.value)
            assert "| one" in str(caught.value)


async def test_the_end_of_the_streams_is_qemus_and_shows_the_last_lines() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("true"))
        await peer.request()
        peer.say("last words")
        peer.close()
        with pytest.raises(GuestTrouble, match="last words") as caught:
            await run
        assert caught.value.culprit == "qemu"


async def test_whoever_knows_more_comes_before_the_end_of_the_stream() -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("true"))
        await peer.request()
        peer.close()
        guest.trouble(GuestTrouble("qemu", "QEMU was killed by signal 9"))
        with pytest.raises(GuestTrouble, match="signal 9"):
            await run


async def test_a_panic_being_told_comes_before_what_others_saw() -> None:
    async with ready_guest() as (guest, peer):
        alarm = asyncio.Event()
        guest.kernel_log.on_alarm(lambda kind, title: alarm.set())
        peer.say("Kernel panic - not syncing: first\n")
        await alarm.wait()
        guest.trouble(GuestTrouble("qemu", "QEMU is gone"))
        with pytest.raises(GuestTrouble, match="not syncing: first"):
            await guest.run("true")


async def test_a_silent_agent_is_a_hang() -> None:
    async with ready_guest(silence=Silence(answering=0.05)) as (guest, _peer):
        with pytest.raises(GuestTrouble, match="hangs"):
            await guest.run("true")


async def test_silence_while_booting_is_a_hang() -> None:
    async with guest_and_peer(silence=Silence(booting=0.05)) as (guest, peer):
        peer.say("Booting\n")
        with pytest.raises(GuestTrouble, match="while booting"):
            await guest.ready()


async def test_no_hello_in_time_shows_the_console() -> None:
    async with guest_and_peer() as (guest, peer):
        peer.say("stuck here\n")
        await guest.wait_for_line("stuck")
        with pytest.raises(DeadlineExceeded, match="stuck here"):
            await guest.ready(0.01)


async def test_a_command_before_the_hello_is_refused() -> None:
    async with guest_and_peer() as (guest, _peer):
        with pytest.raises(GuestTrouble, match="not said hello"):
            await guest.run("true")


async def test_complaints_are_counted_and_known_quirks_told() -> None:
    told: list[Event] = []
    async with guest_and_peer(tell=told.append, quirks=["known_driver"]) as (guest, peer):
        peer.say("WARNING: CPU: 0 PID: 1 at a.c:1 known_driver+0x1/0x2\n---[ end trace 1 ]---\n")
        peer.say("WARNING: CPU: 0 PID: 1 at b.c:1 other+0x1/0x2\n---[ end trace 2 ]---\nafter\n")
        await guest.wait_for_line("after")
        assert [splat.title for splat in guest.kernel_log.splats] == ["WARNING: CPU: 0 PID: 1 at b.c:1 other+0x1/0x2"]
        assert [splat.quirk for splat in guest.kernel_log.quirks] == ["known_driver"]
        assert any(isinstance(event, Note) and "known_driver" in event.text for event in told)
        assert guest.troubles.first is None


async def test_the_recording_is_whole_when_a_run_fails(tmp_path: Path) -> None:
    text = "one\r\ntwo é\r\n" + "x" * 100_000
    with pytest.raises(GuestTrouble):
        async with guest_and_peer(directory=tmp_path) as (guest, peer):
            await asyncio.to_thread(peer.say, text)
            peer.close()
            await guest.wait_for_line("never")
    assert (tmp_path / "ttyS0.log").read_bytes() == text.encode()
    header, *events = [json.loads(line) for line in (tmp_path / "ttyS0.cast").read_text().splitlines()]
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert {code for _, code, _ in events} == {"o"}
    assert "".join(shown for _, _, shown in events) == text
