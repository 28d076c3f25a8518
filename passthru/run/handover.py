# SPDX-License-Identifier: GPL-2.0-or-later
"""Handing the guest over to a person: its shell to the terminal, or all of it for as long as wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import Note
from passthru.guest.interact import interact, terminal_size
from passthru.run.events import HandoverEnded, HandoverStarted

if TYPE_CHECKING:
    from passthru.events import Tell
    from passthru.run.stage import Stage


async def hand_over(stage: Stage, tell: Tell) -> None:
    """Join our terminal to a shell in the guest until its user leaves with Ctrl-]. Nobody has a deadline meanwhile."""
    forever = Deadline()
    await stage.host.set_deadline(forever)
    stage.guest.deadline = forever
    console = await stage.guest.shell_console(*terminal_size())
    resizing: set[asyncio.Task[object]] = set()

    def resized(rows: int, columns: int) -> None:
        task: asyncio.Task[object] = asyncio.create_task(stage.guest.shell_console(rows, columns))
        resizing.add(task)
        task.add_done_callback(resizing.discard)

    tell(Note("the guest's shell; Ctrl-] leaves it and ends the run"))
    tell(HandoverStarted())
    try:
        await stage.guest.troubles.guard(interact(console, forever, resized=resized))
    finally:
        tell(HandoverEnded())


async def keep(stage: Stage, tell: Tell) -> None:
    """Leave the guest running until the user interrupts, or it ends by itself. Nobody has a deadline meanwhile."""
    await stage.host.set_deadline(Deadline())
    stage.guest.deadline = Deadline()
    tell(Note(f"the guest stays (QEMU is process {stage.qemu.pid}); an interrupt (Ctrl-C) ends it"))
    try:
        await stage.qemu.wait()
    except asyncio.CancelledError:
        tell(Note("the guest has been kept long enough"))
