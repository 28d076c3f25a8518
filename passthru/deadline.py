# SPDX-License-Identifier: GPL-2.0-or-later
"""One deadline for a run, handed down and narrowed; it crosses to another process as remaining seconds."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, in seconds; ``math.inf`` never comes.

    ``scale`` stretches what is narrowed from it: 1 for KVM, more for emulation.
    """

    at: float = math.inf
    scale: float = 1.0

    @classmethod
    def after(cls, seconds: float | None, *, scale: float = 1.0) -> Deadline:
        """A deadline ``seconds`` x ``scale`` from now; None never comes."""
        return cls(math.inf if seconds is None else time.monotonic() + seconds * scale, scale)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative; ``math.inf`` without a limit."""
        return max(0.0, self.at - time.monotonic())

    def narrowed(self, seconds: float) -> Deadline:
        """The earlier of this deadline and ``seconds`` x ``scale`` from now; limitless stays limitless."""
        if math.isinf(self.at):
            return self
        return Deadline(min(self.at, time.monotonic() + seconds * self.scale), self.scale)

    @contextlib.asynccontextmanager
    async def waiting_for(self, awaited: str, last_lines: Callable[[], Sequence[str]] = tuple) -> AsyncIterator[None]:
        """Bound a wait; raises DeadlineExceeded naming what was awaited, for how long, and the last lines."""
        began = time.monotonic()
        limit = None if math.isinf(self.at) else asyncio.get_running_loop().time() + self.remaining
        try:
            async with asyncio.timeout_at(limit) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeadlineExceeded(awaited, time.monotonic() - began, last_lines()) from error
