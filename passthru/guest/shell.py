# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in a guest: outputs and exit status, exactly, through the shell agent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import shlex
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import DeadlineExceeded, GuestTrouble, UserMistake
from passthru.guest.commands import CommandLost, CommandTimeout, Completed, OutputIncomplete, shortened
from passthru.guest.protocol import Ears, Exit, Hello, Link, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from passthru.deadline import Deadline
    from passthru.guest.trouble import Troubles

KILL_GRACE = 5.0
"""Seconds that a killed command may take to be gone, before scaling."""
PING_PERIOD = 1.0
"""Seconds between two pings while something is awaited. A ping also has the agent look for jobs that killed their
worker."""


@dataclass
class _Job:
    command: str
    ended: asyncio.Future[Exit | None]  # None: the agent that knew it is gone


class Shell:
    """Runs commands through whichever link the agent has announced itself on.

    ``silence`` is for how long an agent may say nothing although it was asked (seconds before scaling): after that the
    guest hangs."""

    def __init__(
        self, troubles: Troubles, deadline: Deadline, last_lines: Callable[[], Sequence[str]], *, silence: float
    ) -> None:
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.link: Link | None = None
        self.ears = Ears(self._hello, self._exit, self._word, self._broken)
        self._troubles = troubles
        self.deadline = deadline
        self._last_lines = last_lines
        self._longest_silence = silence
        self._jobs: dict[int, _Job] = {}
        self._ids = itertools.count(1)
        self._words: dict[str, deque[asyncio.Future[str]]] = {}
        self._awaiting = 0
        self._pinging: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, command: str, timeout: float) -> Completed:
        """Run a script of any number of lines; see ``Guest.run``."""
        job, ended = self._new_job(command)
        deadline = self.deadline.narrowed(timeout)
        began = time.monotonic()
        try:
            async with self.liveness():
                try:
                    async with deadline.waiting_for(shortened(command)):
                        exited = await self._troubles.guard(self._start_and_wait(job, command, ended))
                except DeadlineExceeded:
                    waited = time.monotonic() - began
                    raise await self._killed(job, command, ended, waited) from None
        except asyncio.CancelledError:
            self._in_background(self._request(f"kill {job}"))
            raise
        finally:
            del self._jobs[job]
            if self.link is not None:
                self.link.expect_exit(job, False)
        return _judged(command, exited)

    async def ask(self, request: str, answer: str) -> str:
        """Send ``request`` and wait for the agent's word ``answer``; returns what follows that word."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._words.setdefault(answer, deque()).append(future)  # answers come in the order of the requests
        async with (
            self.liveness(),
            self.deadline.narrowed(10.0).waiting_for(f"the agent's answer to {request!r}", self._last_lines),
        ):
            await self._troubles.guard(self._request(request))
            return await self._troubles.guard(future)

    async def tell(self, request: str) -> None:
        """Send a request that has no answer."""
        async with self.deadline.narrowed(10.0).waiting_for(f"the agent to take {request!r}", self._last_lines):
            await self._troubles.guard(self._request(request))

    @contextlib.asynccontextmanager
    async def liveness(self) -> AsyncIterator[None]:
        """While this is open, an agent that falls silent is trouble."""
        self._awaiting += 1
        if self._pinging is None and self.link is not None:
            self._pinging = asyncio.create_task(self._keep_pinging(), name="guest liveness")
        try:
            yield
        finally:
            self._awaiting -= 1
            if not self._awaiting and self._pinging is not None:
                self._pinging.cancel()
                self._pinging = None

    def restarted(self) -> None:
        """The agent is gone with all that ran; ``hello`` is the next one's, ``link`` is None until somebody sets it."""
        if self.hello.done():
            self.hello = asyncio.get_running_loop().create_future()
        self.link = None
        if self._pinging is not None:
            self._pinging.cancel()
            self._pinging = None
        self._lose_jobs()

    def close(self) -> None:
        """Stop all that goes on by itself."""
        for task in (self._pinging, *self._background):
            if task is not None:
                task.cancel()
        if self.link is not None:
            self.link.close()

    # --- jobs ---

    def _new_job(self, command: str) -> tuple[int, asyncio.Future[Exit | None]]:
        if self.link is None:
            raise GuestTrouble(
                "guest-kernel", "no command can run in the guest yet: its shell agent has not said hello"
            )
        if "\0" in command:
            raise UserMistake(f"the guest command {shortened(command)} holds a NUL byte, which no shell script can")
        job = next(self._ids)
        ended: asyncio.Future[Exit | None] = asyncio.get_running_loop().create_future()
        self._jobs[job] = _Job(command, ended)
        self.link.expect_exit(job, True)
        return job, ended

    async def _start_and_wait(self, job: int, command: str, ended: asyncio.Future[Exit | None]) -> Exit | None:
        assert self.link is not None
        script = list(pieces(command.encode("utf-8", "surrogateescape"), self.link.longest_request))
        for index, piece in enumerate(script):
            await self.link.request(f"{'run' if index == len(script) - 1 else 'text'} {job} {index} {piece}")
        return await asyncio.shield(ended)  # who gives up waiting still wants to hear of the kill

    async def _killed(
        self, job: int, command: str, ended: asyncio.Future[Exit | None], waited: float
    ) -> CommandTimeout:
        grace = KILL_GRACE * self.deadline.scale
        try:
            async with asyncio.timeout(grace):
                await self._request(f"kill {job}")
                exited = await self._troubles.guard(asyncio.shield(ended))
        except TimeoutError:
            return CommandTimeout(command, waited, b"", b"", f"killing it did not end it within {grace:.0f} s either")
        if exited is None:
            return CommandTimeout(command, waited, b"", b"", "then the agent that watched over it was gone")
        return CommandTimeout(command, waited, exited.stdout, exited.stderr, "it was killed; it had printed")

    async def _request(self, line: str) -> None:
        if self.link is not None:
            await self.link.request(line)

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- liveness ---

    def _silence(self) -> float:
        return math.inf if math.isinf(self.deadline.at) else self._longest_silence * self.deadline.scale

    async def _keep_pinging(self) -> None:
        assert self.link is not None
        pings = itertools.count(1)
        ping: asyncio.Task[None] | None = None
        asked_since = math.inf  # the ping that was not followed by anything yet
        while True:
            await asyncio.sleep(min(PING_PERIOD, self._silence()))  # the rhythm of the pings
            now = time.monotonic()
            if self.link.last_heard >= asked_since:
                asked_since = math.inf
            if now - asked_since >= self._silence():
                self._troubles.declare(self._hang(now - asked_since))
                return
            if math.isinf(asked_since):
                asked_since = now
            if ping is None or ping.done():
                ping = self._in_background(self._request(f"ping {next(pings)}"))

    def _hang(self, seconds: float) -> GuestTrouble:
        tail = "; the last lines of the console:" + "".join(f"\n    | {line}" for line in self._last_lines())
        return GuestTrouble(
            "guest-kernel",
            f"the guest hangs: its shell agent has not answered for {seconds:.1f} s{tail}",
        )

    # --- what the agent says ---

    def _hello(self, hello: Hello) -> None:
        if not self.hello.done():
            self.hello.set_result(hello)
        elif self.hello.result() != hello:
            self.hello = asyncio.get_running_loop().create_future()
            self.hello.set_result(hello)
            self._lose_jobs()

    def _lose_jobs(self) -> None:
        for job in self._jobs.values():
            if not job.ended.done():
                job.ended.set_result(None)

    def _exit(self, exited: Exit) -> None:
        job = self._jobs.get(exited.job)
        if job is not None and not job.ended.done():
            job.ended.set_result(exited)

    def _word(self, word: str, rest: str) -> None:
        waiting = self._words.get(word)
        if waiting and not (future := waiting.popleft()).done():
            future.set_result(rest)

    def _broken(self, heard: str) -> None:
        self._troubles.declare(
            GuestTrouble(
                "guest-kernel", f"the guest's shell agent said {heard!r}, which makes no sense: it lost its step"
            )
        )


def quoted(path: str) -> str:
    """A path as one word of a shell command."""
    return shlex.quote(path)


def _judged(command: str, exited: Exit | None) -> Completed:
    if exited is None:
        raise CommandLost(command)
    if exited.status is None:
        raise CommandLost(command, exited.stdout, exited.stderr)
    completed = Completed(exited.stdout, exited.stderr, exited.status)
    if exited.full:
        raise OutputIncomplete(command, completed)
    return completed
