# SPDX-License-Identifier: GPL-2.0-or-later
"""Trouble that breaks every wait at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passthru.errors import GuestTrouble

T = TypeVar("T")


class Troubles:
    """What went wrong with a guest, by whoever noticed it; the first one breaks all waits, now and later."""

    def __init__(self) -> None:
        self.all: list[GuestTrouble] = []
        self._first: asyncio.Future[GuestTrouble] = asyncio.get_running_loop().create_future()

    @property
    def first(self) -> GuestTrouble | None:
        """The trouble that waits are broken with, if there is any."""
        return self.all[0] if self.all else None

    def declare(self, trouble: GuestTrouble) -> None:
        """Note a trouble; may be called by anybody, any number of times."""
        self.all.append(trouble)
        if not self._first.done():
            self._first.set_result(trouble)

    def when_first(self, then: Callable[[GuestTrouble], None]) -> None:
        """Call ``then`` with the first trouble, when it is declared (soon, if it is already)."""

        def tell(first: asyncio.Future[GuestTrouble]) -> None:
            if not first.cancelled():
                then(first.result())

        self._first.add_done_callback(tell)

    def check(self) -> None:
        """Raise the first trouble, if there is any."""
        if self.first is not None:
            raise self.first.with_traceback(None)

    async def guard(self, awaited: Awaitable[T]) -> T:
        """The result of ``awaited``, or the first trouble, whichever comes first; what lost is cancelled.

        A result that is there already is worth more than a trouble that comes at the same moment."""
        future = asyncio.ensure_future(awaited)
        try:
            if not future.done():
                self.check()
            first: asyncio.Future[Any] = self._first
            await asyncio.wait({future, first}, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                self.check()
            return await future
        finally:
            if not future.done():
                future.cancel()
