# SPDX-License-Identifier: GPL-2.0-or-later
"""Awaiting something from a function that blocks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, run to its end in an event loop of its own.

    Where a loop runs in this thread already (a caller that did not mind to block it, such as a test's fixture), that is
    in a thread of its own; an interruption is raised here at once, and what ``work`` had started ends with the process.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="blocking work", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
