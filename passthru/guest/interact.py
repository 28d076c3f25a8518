# SPDX-License-Identifier: GPL-2.0-or-later
"""Our terminal, joined to a console of the guest, until its user leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.deadline import Deadline
    from passthru.guest.console import Console

LEAVE = b"\x1d"
"""Ctrl-]"""


async def interact(console: Console, deadline: Deadline, *, resized: Callable[[int, int], None] | None = None) -> str:
    """Hand the terminal on stdin and stdout over to ``console``: raw, every key but Ctrl-] goes to the guest.

    Ends with "left" (Ctrl-], or the end of stdin) or "ended" (the console's end). ``resized(rows, columns)`` is called
    when the terminal changes its size. Raises Unusable where stdin or stdout is no terminal, DeadlineExceeded."""
    stdin, stdout = require_terminal()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()
    typed: asyncio.Queue[bytes] = asyncio.Queue()

    def finish(how: str) -> None:
        if not done.done():
            done.set_result(how)

    def key() -> None:
        data = os.read(stdin, 4096)
        if data:
            typed.put_nowait(data.partition(LEAVE)[0])
        if not data or LEAVE in data:
            finish("left")

    def ended(_: asyncio.Future[None]) -> None:
        loop.call_soon(finish, "ended")

    async def forward() -> None:
        while True:
            await console.send(await typed.get())

    before = termios.tcgetattr(stdin)
    stop = console.listen(lambda data: _write(stdout, data))
    console.ended.add_done_callback(ended)
    forwarding = asyncio.create_task(forward(), name="keys to the guest")
    try:
        tty.setraw(stdin)
        loop.add_reader(stdin, key)
        if resized is not None:
            loop.add_signal_handler(signal.SIGWINCH, lambda: resized(*terminal_size()))
        async with deadline.waiting_for("the user to leave the console (Ctrl-])"):
            return await done
    finally:
        loop.remove_reader(stdin)
        if resized is not None:
            loop.remove_signal_handler(signal.SIGWINCH)
        forwarding.cancel()
        stop()
        console.ended.remove_done_callback(ended)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of our terminal; 24 x 80 where there is none."""
    try:
        size = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except (OSError, ValueError):
        return 24, 80
    return size.lines, size.columns


def require_terminal() -> tuple[int, int]:
    """The descriptors of our terminal's input and output; raises Unusable where there is none."""
    for name, stream in (("stdin", sys.__stdin__), ("stdout", sys.__stdout__)):
        try:
            good = stream is not None and os.isatty(stream.fileno())
        except (OSError, ValueError):
            good = False
        if not good:
            raise Unusable(
                f"an interactive console needs a terminal, and {name} is none: run this in a terminal, or let a check "
                "of kind `command` run what you would type"
            )
    assert sys.__stdin__ is not None and sys.__stdout__ is not None
    return sys.__stdin__.fileno(), sys.__stdout__.fileno()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
