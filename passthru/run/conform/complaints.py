# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel of a host complains of (WARN, KASAN, lockdep ...) while its devices are judged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from passthru.guest.kernel_log import KernelLog
    from passthru.guest.splat import Splat

_SECONDS = 3.0
"""How long the rest of a complaint may take to come, over a serial line, once it has begun."""


class Complaints:
    """Those that the log of a host's kernel tells, taken test by test; without a log there are none."""

    def __init__(self, log: KernelLog | None = None) -> None:
        self._begun = 0
        self._came: list[Splat] = []
        self._complete = asyncio.Event()
        if log is not None:
            log.on_alarm(self._begins)
            log.on_splat(self._ends)

    async def taken(self) -> list[Splat]:
        """Those that came since this was last asked, known quirks left out; one that has begun is waited for."""
        while self._begun:
            self._complete.clear()
            try:
                async with Deadline.after(_SECONDS).waiting_for("the rest of a complaint"):
                    await self._complete.wait()
            except DeadlineExceeded:
                break
        came, self._came = self._came, []
        return came

    def _begins(self, kind: str, title: str) -> None:
        self._begun += 1

    def _ends(self, splat: Splat) -> None:
        self._begun = max(0, self._begun - 1)
        if splat.quirk is None:
            self._came.append(splat)
        self._complete.set()
