# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that reboots under a Guest: what the agent before still owed is lost, and the next one is waited for."""

from __future__ import annotations

import asyncio

import pytest

from passthru.errors import GuestTrouble
from passthru.guest.commands import CommandLost, Completed
from passthru.guest.guest import Silence
from tests.unit.guest.peer import Peer, ready_guest


async def settled(peer: Peer) -> None:
    """Everything that was said has been heard: the loop has had its turns."""
    await peer.agent_writer.drain()
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_agent_is_asked_to_reboot() -> None:
    async with ready_guest() as (guest, peer):
        await guest.reboot()
        assert await peer.request() == ["reboot"]


async def test_commands_run_again_with_the_next_agent() -> None:
    async with ready_guest() as (guest, peer):
        guest.restarted()
        with pytest.raises(GuestTrouble, match="its shell agent has not said hello"):
            await guest.run("too early")
        ready = asyncio.create_task(guest.ready())
        await settled(peer)
        assert not ready.done()
        peer.answer("hello 1 other 6.1\n")
        assert (await ready).generation == "other"
        run = asyncio.create_task(guest.run("later"))
        assert (await peer.request())[3] == "later"
        peer.answer("exit 1 0 2 0 ok\nokend 1\n")
        assert await run == Completed(b"ok", b"", 0)


async def test_a_next_agent_that_looks_like_the_one_before_is_another() -> None:
    async with ready_guest() as (guest, peer):
        before = await guest.ready()
        guest.restarted()
        ready = asyncio.create_task(guest.ready())
        await settled(peer)
        assert not ready.done()
        peer.answer(f"hello 1 {before.generation} {before.release}\n")
        assert await ready == before


async def test_the_firmwares_own_reset_is_part_of_the_reboot() -> None:
    async with ready_guest() as (guest, peer):
        guest.restarted()
        ready = asyncio.create_task(guest.ready())
        await settled(peer)
        guest.restarted()
        peer.answer("hello 1 other 6.1\n")
        assert (await ready).generation == "other"


@pytest.mark.parametrize("half", ["exit 1 0 10 0 ok\n12345", "exit 1 0 1", "pon", "end 1\n"])
async def test_half_an_answer_of_the_agent_before_is_forgotten(half: str) -> None:
    async with ready_guest() as (guest, peer):
        run = asyncio.create_task(guest.run("cut off"))
        await peer.request()
        cut = len(half) // 2
        peer.answer(half[:cut])
        await settled(peer)
        guest.restarted()
        with pytest.raises(CommandLost):
            await run
        peer.answer(half[cut:])  # was still on its way
        ready = asyncio.create_task(guest.ready())
        peer.answer("hello 1 other 6.1\n")
        assert (await ready).generation == "other"
        assert guest.troubles.first is None


async def test_a_guest_that_says_nothing_after_its_reset_hangs() -> None:
    async with ready_guest(silence=Silence(booting=0.05)) as (guest, _):
        guest.restarted()
        with pytest.raises(GuestTrouble, match="the guest hangs: it said nothing for"):
            await guest.ready()


async def test_silence_while_it_reboots_is_not_the_old_agents() -> None:
    async with ready_guest(silence=Silence(answering=0.05)) as (guest, peer):
        run = asyncio.create_task(guest.run("reboot -f"))
        await peer.request()
        guest.restarted()
        with pytest.raises(CommandLost):
            await run
        waiting = asyncio.create_task(guest.wait_for_line("Linux version"))
        await asyncio.sleep(0.2)  # longer than the silence that would be the old agent's
        peer.say("Linux version 6.1\n")
        assert await waiting == "Linux version 6.1"
