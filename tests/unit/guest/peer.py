# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's side of real socket pairs, played by a test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.guest.guest import Guest, Silence, Streams, guest_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from passthru.events import Tell


@dataclass(frozen=True)
class Peer:
    """The other ends of the console and of the agent's port."""

    kernel: socket.socket
    agent_reader: asyncio.StreamReader
    agent_writer: asyncio.StreamWriter

    def say(self, text: str) -> None:
        """Print on the kernel's console."""
        self.kernel.sendall(text.encode())

    def answer(self, data: bytes | str) -> None:
        """Say something as the agent."""
        self.agent_writer.write(data.encode() if isinstance(data, str) else data)

    async def request(self) -> list[str]:
        """The next request that is no ping, in words."""
        while True:
            words = (await self.agent_reader.readline()).decode().rstrip("\n").split(" ", 3)
            if words[0] != "ping":
                return words

    def close(self) -> None:
        """Die, as QEMU does: all streams end."""
        self.kernel.close()
        self.agent_writer.close()


@contextlib.asynccontextmanager
async def guest_and_peer(
    *,
    tell: Tell = lambda event: None,
    directory: Path | None = None,
    quirks: Sequence[str] = (),
    silence: Silence | None = None,
) -> AsyncIterator[tuple[Guest, Peer]]:
    """A Guest and who plays its guest."""
    (kernel, their_kernel), (agent, their_agent) = socket.socketpair(), socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=their_agent)
    peer = Peer(their_kernel, reader, writer)
    try:
        async with guest_over(
            Streams(kernel, agent),
            deadline=Deadline.after(60),
            tell=tell,
            directory=directory,
            quirks=quirks,
            silence=silence,
        ) as guest:
            yield guest, peer
    finally:
        peer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def ready_guest(*, silence: Silence | None = None) -> AsyncIterator[tuple[Guest, Peer]]:
    """The same, with an agent that has said hello."""
    async with guest_and_peer(silence=silence) as (guest, peer):
        peer.answer("hello 1 first 6.1.0\n")
        await guest.ready()
        yield guest, peer
