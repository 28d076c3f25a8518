# SPDX-License-Identifier: GPL-2.0-or-later
"""A local host with a real worker, and what observes processes."""

from __future__ import annotations

import asyncio
import os
import select
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.host import open_local_host

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from passthru.events import Event
    from passthru.host import Host

SECONDS = 20.0


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of scratch directories, private to the test and empty at its end."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        monkeypatch.setenv("TMPDIR", path)
        yield Path(path)
        assert list(Path(path).iterdir()) == []


@pytest.fixture
def told() -> list[Event]:
    """What was told."""
    return []


@pytest.fixture
async def host(place: Path, told: list[Event]) -> AsyncIterator[Host]:
    async with open_local_host(deadline=Deadline.after(SECONDS), tell=told.append) as host:
        yield host


@pytest.fixture
def dies() -> Callable[[int], bool]:
    """Whether a process is dead, or dies soon: waits for its end, whosever child it is."""

    def dies(pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            return bool(poll.poll(SECONDS * 1000))
        finally:
            os.close(pidfd)

    return dies


@pytest.fixture
def read() -> Callable[[socket.socket], Awaitable[bytes]]:
    """What comes out of a stream next, b"" at its end."""

    async def read(stream: socket.socket) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await asyncio.get_running_loop().sock_recv(stream, 1 << 16)

    return read
