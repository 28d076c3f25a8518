# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in a real guest without a virtio console: its agent shares ttyS0 with the kernel's messages."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from passthru.events import Note
from passthru.guest.commands import CommandLost, CommandTimeout, Completed
from tests.e2e.guest.machine import Booted, Parts, booted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLOOD = "flooding the log with a message of some length"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(parts: Parts) -> AsyncIterator[Booted]:
    """One guest for all of this file: each test leaves its shell usable."""
    async with booted(parts, shared=True) as machine:
        yield machine


async def test_it_is_told(machine: Booted) -> None:
    assert any(isinstance(event, Note) and "shares ttyS0" in event.text for event in machine.told)


async def test_outputs_and_status(machine: Booted) -> None:
    guest = machine.guest
    assert await guest.run("echo out; echo err >&2; exit 3") == Completed(b"out\n", b"err\n", 3)
    assert await guest.run("") == Completed(b"", b"", 0)
    assert await guest.run("kill -9 $$") == Completed(b"", b"", 137)
    text = " \\ \t é " * 1000
    assert (await guest.run(f"cat <<'.'\n{text}\n.")).stdout == f"{text}\n".encode()


async def test_large_binary_output(machine: Booted) -> None:
    completed = await machine.guest.run("head -c 300000 /dev/urandom >/tmp/r; sha256sum </tmp/r >&2; cat /tmp/r")
    assert len(completed.stdout) == 300000
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()


async def test_several_at_once(machine: Booted) -> None:
    completed = await asyncio.gather(*(machine.guest.run(f"sleep 0.{9 - n}; echo {n}; exit {n}") for n in range(9)))
    assert [(each.stdout, each.status) for each in completed] == [(b"%d\n" % n, n) for n in range(9)]


async def test_a_command_that_never_ends(machine: Booted) -> None:
    with pytest.raises(CommandTimeout) as caught:
        await machine.guest.run("echo so far; while :; do :; done", timeout=0.3)
    assert caught.value.stdout == b"so far\n"


async def test_a_killed_agent_is_replaced(machine: Booted) -> None:
    with pytest.raises(CommandLost):
        await machine.guest.run("kill -9 -1; sleep 1000")
    assert await machine.guest.run("echo usable") == Completed(b"usable\n", b"", 0)


async def test_a_flood_of_kernel_messages_spoils_neither_side(machine: Booted) -> None:
    guest = machine.guest
    await guest.run(f"(while :; do echo {FLOOD} >/dev/kmsg; done) & echo $! >/tmp/flood")
    await guest.wait_for_line(FLOOD)
    completed = await guest.run("head -c 60000 /dev/urandom >/tmp/r; sha256sum </tmp/r >&2; cat /tmp/r")
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()
    await guest.succeed("kill $(cat /tmp/flood)")
    flooded = [line for line in guest.kernel_log.lines if "flood" in line]
    assert len(flooded) > 50
    assert set(flooded) == {FLOOD}


async def test_another_program_on_the_line_spoils_nothing(machine: Booted) -> None:
    guest = machine.guest
    await guest.run("(while :; do echo junk >/dev/ttyS0; done) & echo $! >/tmp/flood")
    completed = await guest.run("head -c 20000 /dev/urandom >/tmp/r; sha256sum </tmp/r >&2; cat /tmp/r")
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()
    await guest.succeed("kill $(cat /tmp/flood)")


async def test_messages_without_time_stamps_lower_the_log_level_if_need_be(machine: Booted) -> None:
    guest = machine.guest
    await guest.succeed("echo N >/sys/module/printk/parameters/time")
    await guest.run(f"(while :; do echo {FLOOD} >/dev/kmsg; done) & echo $! >/tmp/flood")
    completed = await guest.run("head -c 60000 /dev/urandom >/tmp/r; sha256sum </tmp/r >&2; cat /tmp/r", timeout=60)
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()
    await guest.succeed("kill $(cat /tmp/flood); echo Y >/sys/module/printk/parameters/time")
    assert any(isinstance(event, Note) and "log level is lowered" in event.text for event in machine.told)
    assert (await guest.succeed("cat /proc/sys/kernel/printk")).split()[0] == "7"
