# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig's shared RAM, and the process beside its QEMU that is the devices in there (passthru.emulation.shared_ram)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import GuestTrouble, PassthruError
from passthru.host.host import ChildSpec
from passthru.host.output import last_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from passthru.deadline import Deadline
    from passthru.host.host import Child, Host

NAME = "devices"
"""The name of the child."""
MODULE = "passthru.emulation.shared_ram"
"""What the process is."""
READY = "ready"
"""The stream on which it tells that a kernel may look."""

_LONGEST = 16384


@dataclass(frozen=True)
class SharedRam:
    """What a rig shares: ``placeholder`` stands for the file's path in the arguments of QEMU, and on the board."""

    mebibytes: int
    placeholder: str
    board: str
    """The board of the process, as JSON, with the placeholders of ChildSpec."""
    output: Path
    """Where the process prints."""


@contextlib.contextmanager
def memory_file(mebibytes: int) -> Iterator[str]:
    """The path of a file that is nothing but memory, and gone with this process whatever becomes of it."""
    descriptor = os.memfd_create("passthru-rig")
    try:
        os.ftruncate(descriptor, mebibytes << 20)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def devices_in(shared: SharedRam, path: str, local: Host, deadline: Deadline) -> AsyncIterator[Child]:
    """Start the process for RAM at ``path``, and go on when RAM holds all that a kernel must find there.

    Leaving the context kills it. Raises Unusable: it cannot be started; GuestTrouble of the device: it ended;
    DeadlineExceeded.
    """
    board = shared.board.replace(shared.placeholder, path)
    spec = ChildSpec(NAME, local.own_command(MODULE, board), streams=(READY,), output=shared.output)
    child = await local.start(spec)
    try:
        async with deadline.waiting_for("the devices in the rig's shared RAM"):
            told = await asyncio.get_running_loop().sock_recv(child.streams[READY], _LONGEST)
        if not told:
            end = how_it_ended(str(await child.wait()), shared)
            raise GuestTrouble("device", f"the process of the rig's shared RAM {end}")
        yield child
    finally:
        with contextlib.suppress(PassthruError):  # the worker has gone, and its children with it
            await child.kill()


def how_it_ended(end: str, shared: SharedRam) -> str:
    """``end``, which says how the process ended, with its last words."""
    try:
        words = last_line(shared.output.read_bytes()[-_LONGEST:])
    except OSError:
        words = ""
    return f"{end} and said: {words}" if words else end
