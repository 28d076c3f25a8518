# SPDX-License-Identifier: GPL-2.0-or-later
"""A device judged to the end of the suite, by as many goes as deaths on the way make necessary.

What dies or hangs in a test has failed that test, by name; the rest of the tests is judged all the same, where the
device can be had again: a server that we started is started anew.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.check.finding import Finding, Verdict
from passthru.errors import GuestTrouble, Unusable
from passthru.run.companions import last_words
from passthru.run.conform.go import Ending
from passthru.run.outcome import blame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from passthru.run.conform.complaints import Complaints
    from passthru.run.conform.go import Ended, Go
    from passthru.run.conform.kept import KeptServer
    from passthru.run.conform.verdicts import Verdicts

_DEATH_SECONDS = 1.0
"""How long the end of a server may take to be told here, once its connection has ended."""


@dataclass(frozen=True)
class Served:
    """What one go of the suite is, and the server of its device where we started one; that prints into ``output``."""

    go: Go
    server: KeptServer | None = None
    output: Path | None = None

    async def death(self) -> str:
        """How the server ended, in words; empty where it did not, or is not ours."""
        if self.server is None or self.output is None:
            return ""
        child = self.server.child
        await asyncio.wait({child.exited}, timeout=_DEATH_SECONDS)
        if not child.exited.done():
            return ""
        return f"the device server {await child.wait()}{last_words(self.output)}"


async def judge_device(
    serve: Callable[[int], AbstractAsyncContextManager[Served]],
    verdicts: Verdicts,
    complaints: Complaints,
    subject: Collection[str],
) -> None:
    """Judge one device to the end.

    ``serve`` makes ready what a go runs against, and is given its number, from 1. Raises UserMistake and Unusable where
    the suite cannot begin, or cannot judge the rest; GuestTrouble where the host broke outside of a test; WorkerLost.
    """
    number = 0
    while number == 0 or verdicts.rest:
        number += 1
        before = len(verdicts.rest)
        async with serve(number) as served:
            try:
                ended = await served.go.run(verdicts.take, verdicts.rest if number > 1 else None)
            except GuestTrouble as trouble:
                await verdicts.release()
                if not verdicts.running:
                    raise
                await complaints.taken()  # its last words, which are the trouble's
                await verdicts.conclude(blame(trouble, subject))
                if verdicts.rest:
                    raise Unusable(f"{verdicts.unjudged}: the host was lost in {verdicts.last}") from trouble
                return
            except Unusable as error:
                if number == 1:
                    raise
                raise Unusable(f"{verdicts.unjudged}: {error}") from error
            await _finish(ended, served, verdicts)
        if ended.ending is Ending.DONE:
            break
        if number > 1 and len(verdicts.rest) == before:
            raise Unusable(f"{verdicts.unjudged}: {ended.words}")
    for splat in await complaints.taken():
        raise GuestTrouble("host-kernel", f"the host's kernel complained after {verdicts.last}: {splat.title}")


async def _finish(ended: Ended, served: Served, verdicts: Verdicts) -> None:
    """Judge the test in which a go ended, if it was not done. Raises Unusable where nothing more can be judged."""
    match ended.ending:
        case Ending.GONE:
            await verdicts.release(await served.death())
            if served.server is None and verdicts.rest:
                raise Unusable(f"{verdicts.unjudged}: {ended.words}")
        case Ending.HUNG if ended.test:
            await verdicts.conclude(Finding(Verdict.FAILED, f"the test hung: {ended.words}"))
        case Ending.DIED if ended.test:
            verdict = Verdict.FAILED if ended.by_the_device else Verdict.ERROR
            await verdicts.conclude(Finding(verdict, f"{ended.words}, in this test"))
        case Ending.HUNG | Ending.DIED:
            await verdicts.release()
            raise Unusable(f"{verdicts.unjudged}: the suite broke off between its tests: {ended.words}")
    await verdicts.release()
