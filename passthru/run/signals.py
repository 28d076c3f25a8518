# SPDX-License-Identifier: GPL-2.0-or-later
"""Interruption by SIGINT, SIGTERM or SIGHUP: the first one ends a run in order, the second one at once.

At once is safe as well: the worker sees its stream end and clears up by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    loop: asyncio.AbstractEventLoop | None = None
    task: asyncio.Task[Any] | None = None
    seen = False
    starting = False
    """An event loop is being made, of which an exception would leave half."""
    early = False
    """A signal came meanwhile."""


def _handle(number: int, _frame: object) -> None:
    if _State.seen:
        os._exit(130)
    _State.seen = True
    if _State.starting:
        _State.early = True
        return
    if _State.loop is None or _State.task is None:
        raise KeyboardInterrupt
    # The event loop may be waiting for a descriptor: this wakes it, where a plain cancel() would not.
    _State.loop.call_soon_threadsafe(_State.task.cancel)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a signal raises KeyboardInterrupt, or cancels what ``run_async`` runs."""
    before = {
        number: signal.signal(number, _handle) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN
    }
    _State.seen = False
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` in an event loop of its own; KeyboardInterrupt where a signal ended it."""

    async def registered() -> Result:
        _State.loop, _State.task = asyncio.get_running_loop(), asyncio.current_task()
        _State.starting = False
        try:
            if _State.early:
                raise asyncio.CancelledError
            return await work
        finally:
            _State.loop = _State.task = None

    _State.starting, _State.early = True, False
    try:
        return asyncio.run(registered())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        _State.starting = False
        work.close()  # where it never began, Python would complain
