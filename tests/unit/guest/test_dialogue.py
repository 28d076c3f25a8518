# SPDX-License-Identifier: GPL-2.0-or-later
"""Dialogues on a console over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING

import pexpect
import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded
from passthru.guest.console import Console
from passthru.guest.dialogue import EOF, Dialogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def in_time() -> Deadline:
    """A minute from now."""
    return Deadline.after(60)


@contextlib.asynccontextmanager
async def dialogue() -> AsyncIterator[tuple[Dialogue, socket.socket]]:
    ours, theirs = socket.socketpair()
    console = Console("a console", ours)
    try:
        yield Dialogue(console), theirs
    finally:
        console.close()
        theirs.close()


async def test_a_log_in() -> None:
    async with dialogue() as (talk, other):
        other.sendall(b"Welcome\r\nlog")
        expecting = asyncio.create_task(talk.expect("login: ", in_time()))
        await asyncio.sleep(0)
        other.sendall(b"in: ")
        assert await expecting == 0
        assert (talk.before, talk.after) == (b"Welcome\r\n", b"login: ")
        await talk.send_line("root")
        assert await asyncio.to_thread(other.recv, 100) == b"root\r"
        other.sendall(b"Password: denied 42\n")
        assert await talk.expect(["# $", re.compile(rb"denied (\d+)")], in_time()) == 1
        assert talk.match is not None
        assert talk.match[1] == b"42"
        assert talk.before == b"Password: "


async def test_what_came_early_is_found_and_the_rest_kept() -> None:
    async with dialogue() as (talk, other):
        other.sendall(b"one two three")
        await talk.expect("one", in_time())
        await talk.expect("two", in_time())
        await talk.expect("three", in_time())
        assert talk.before == b" "


async def test_in_vain() -> None:
    async with dialogue() as (talk, other):
        other.sendall(b"> ")
        with pytest.raises(DeadlineExceeded, match=r"'prompt' on a console(.|\n)*> "):
            await talk.expect("prompt", Deadline.after(0.05))
        assert await talk.expect("> ", in_time()) == 0


async def test_the_end() -> None:
    async with dialogue() as (talk, other):
        other.sendall(b"bye")
        expecting = asyncio.create_task(talk.expect(["never", EOF], in_time()))
        await asyncio.sleep(0)
        other.close()
        assert await expecting == 1
        assert talk.before == b"bye"
        with pytest.raises(pexpect.EOF):
            await talk.expect("more", in_time())
