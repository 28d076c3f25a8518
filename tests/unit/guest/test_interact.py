# SPDX-License-Identifier: GPL-2.0-or-later
"""Our terminal, played by a pseudo terminal, joined to a console."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import Unusable
from passthru.guest.console import Console
from passthru.guest.interact import interact

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def console_and_guest() -> Iterator[tuple[Console, socket.socket]]:
    """A console and who plays the guest behind it."""
    ours, guest = socket.socketpair()
    console = Console("a console", ours)
    try:
        yield console, guest
    finally:
        console.close()
        guest.close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The person's side of a terminal that is our stdin and stdout."""
    person, ours = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as stream:
        monkeypatch.setattr(sys, "__stdin__", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        yield person
    os.close(person)


async def test_keys_and_text_pass_raw_until_the_person_leaves(terminal: int) -> None:
    with console_and_guest() as (console, guest):
        before = termios.tcgetattr(terminal)
        joined = asyncio.create_task(interact(console, Deadline.after(60)))
        guest.sendall(b"guest# ")
        assert await asyncio.to_thread(os.read, terminal, 100) == b"guest# "
        os.write(terminal, b"ls\r\x03\x1d")
        assert await joined == "left"
        assert await asyncio.to_thread(guest.recv, 100) == b"ls\r\x03"
        assert termios.tcgetattr(terminal) == before


async def test_the_end_of_the_console_ends_it(terminal: int) -> None:
    with console_and_guest() as (console, guest):
        joined = asyncio.create_task(interact(console, Deadline.after(60)))
        guest.sendall(b"bye")
        guest.close()
        assert await joined == "ended"
        assert os.read(terminal, 100) == b"bye"


async def test_without_a_terminal_it_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with console_and_guest() as (console, _), open(os.devnull) as nothing:  # noqa: PTH123
        for stream in (nothing, None):
            monkeypatch.setattr(sys, "__stdin__", stream)
            with pytest.raises(Unusable, match="stdin is none"):
                await interact(console, Deadline.after(60))
