# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell agent on the line of the kernel's messages: every answer is asked for until it arrives whole.

A request is "SEQ GENERATION LENGTH REQUEST"; its answer is a frame "MD5 SEQ TEXT". One request is under way at a time
and is sent again until its answer came; the agent takes a repeated one for what it is, and one for the agent before it
for none at all. Beside those of protocol.py there are:

    poll                     -> exits;ID STATUS OUT ERR NOTE;...    all that were not dropped; also said unasked, SEQ 0
    get ID out|err N BYTES   -> data ID out|err N BYTES BASE64      block N of BYTES each
    drop ID                  -> ok
    quiet LEVEL              -> ok    the console shows messages below LEVEL only
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

from passthru.events import Note, Tell
from passthru.guest.line_split import LineSplitter
from passthru.guest.protocol import VERSION, Ears, Exit, Hello

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from passthru.guest.console import Console

BLOCK = 24576
SMALLEST_BLOCK = 384
ANSWER_WITHIN = 0.5
"""Seconds without a byte of an answer after which a request is sent again; doubled each time, up to 4 s."""
TRIES_BEFORE_QUIET = 6
POLL_PERIOD = 0.5
USUAL_LEVEL, QUIET_LEVEL = 7, 1


class SharedLink:
    """The agent's side of a console that carries kernel messages too; ``plain`` gets everything that is not ours."""

    longest_request = 3000  # a raw tty keeps 4095 bytes for a reader that is late

    def __init__(self, console: Console, ears: Ears, plain: Callable[[bytes], None], tell: Tell) -> None:
        self.in_use = False
        self._console = console
        self._ears = ears
        self._tell = tell
        self._last_heard = time.monotonic()
        self._last_piece = self._last_heard
        self._sequence = 0
        self._one_at_a_time = asyncio.Lock()
        self._answer: asyncio.Future[str | None] | None = None
        self._awaited: set[int] = set()
        self._fetching: set[int] = set()
        self._fetches: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._quiet = False
        self._generation = ""
        self._splitter = LineSplitter(self._take_frame, plain)
        self._stop = console.listen(self._feed)

    @property
    def last_heard(self) -> float:
        """When the agent said anything that arrived whole, on the monotonic clock."""
        return self._last_heard

    async def request(self, line: str) -> None:
        """Send one request until it was answered."""
        answer = await self._ask(line)
        if answer != "ok" and answer.split(" ", 1)[0] in {"hello", "pong", "shell"}:
            self._take_word(answer)

    def expect_exit(self, job: int, awaited: bool) -> None:
        """Ask for the exit of ``job`` until it came, in case its announcement is lost."""
        (self._awaited.add if awaited else self._awaited.discard)(job)
        if self._awaited and self._poller is None:
            self._poller = self._spawn(self._poll())

    def restarted(self) -> None:
        """The agent is gone, perhaps within an answer; what is asked of it is answered by nothing."""
        self.in_use = self._quiet = False
        self._generation = ""
        for task in tuple(self._fetches):
            task.cancel()
        self._awaited.clear()
        self._fetching.clear()
        self._splitter.abandon()
        self._answered(None)

    def close(self) -> None:
        """Stop listening and asking."""
        self._stop()
        for task in tuple(self._tasks):
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _poll(self) -> None:
        try:
            while self._awaited:
                await asyncio.sleep(POLL_PERIOD)  # exits are announced; this only bounds how late a lost one is seen
                if self._awaited - self._fetching:
                    self._take_exits(await self._ask("poll"))
        finally:
            self._poller = None

    # --- asking ---

    async def _ask(self, request: str, *, tries: int | None = None) -> str:
        """The answer to ``request``. "" after ``tries`` in vain, and when its agent was replaced meanwhile."""
        async with self._one_at_a_time:
            patience = ANSWER_WITHIN
            attempt = 0
            asked = self._generation
            while asked == self._generation and (tries is None or attempt < tries):
                if attempt and attempt % TRIES_BEFORE_QUIET == 0:
                    await self._lower_the_noise(request)
                answer = await self._ask_once(request, patience)
                if answer is not None:
                    return answer
                attempt += 1
                patience = min(4.0, patience * 2)
            return ""

    async def _ask_once(self, request: str, patience: float) -> str | None:
        self._sequence += 1
        self._splitter.abandon()
        self._answer = asyncio.get_running_loop().create_future()
        self._last_piece = time.monotonic()
        # The newline in front ends whatever a program in the guest may have left unread.
        await self._console.send(f"\n{self._sequence} {self._generation} {len(request)} {request}\n".encode("ascii"))
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(self._answer), patience)
            if time.monotonic() - self._last_piece >= patience:
                return None

    async def _lower_the_noise(self, request: str) -> None:
        if not self._quiet:
            self._quiet = True
            self._tell(
                Note(
                    "kernel messages keep spoiling the answers on the line that the guest's shell shares with them: "
                    "the console's log level is lowered until the answer is through; what the kernel says meanwhile "
                    "is only in its own log (dmesg)"
                )
            )
        await self._ask_once(f"quiet {QUIET_LEVEL}", ANSWER_WITHIN)

    async def _raise_the_noise(self) -> None:
        if self._quiet:
            self._quiet = False
            await self._ask(f"quiet {USUAL_LEVEL}")

    # --- hearing ---

    def _feed(self, data: bytes) -> None:
        had_open = self._splitter.open
        self._splitter.feed(data)
        if had_open or self._splitter.open:
            self._last_piece = time.monotonic()

    def _take_frame(self, frame: bytes) -> None:
        checksum, _, rest = frame.partition(b" ")
        if hashlib.md5(rest, usedforsecurity=False).hexdigest().encode() != checksum:
            self._answered(None)
            return
        self._last_heard = time.monotonic()
        sequence, _, text = rest.decode("ascii", "replace").partition(" ")
        if sequence == "0":  # said unasked
            (self._take_exits if text.startswith("exits") else self._take_word)(text)
        elif sequence == str(self._sequence):
            self._answered(text)

    def _answered(self, text: str | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(text)

    def _take_word(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        words = rest.split(" ")
        if word == "hello" and len(words) == 3 and words[0] == VERSION:
            self._greet(Hello(words[1], words[2]))
        elif word in {"pong", "shell"}:
            self._ears.word(word, rest)

    def _greet(self, hello: Hello) -> None:
        self.in_use = True
        if hello.generation != self._generation:
            self._generation = hello.generation
            for task in tuple(self._fetches):
                task.cancel()
            self._answered(None)
            self._spawn(self._hush())
        self._ears.hello(hello)

    async def _hush(self) -> None:
        await self._ask("hello")  # the first request of all ends the repeated greeting

    def _take_exits(self, text: str) -> None:
        for told in text.split(";")[1:]:
            job, status, out, err, note = told.split(" ")
            if int(job) not in self._fetching:
                self._fetching.add(int(job))
                number = None if status == "lost" else int(status)
                fetch = self._spawn(self._fetch(int(job), number, int(out), int(err), note != "ok"))
                self._fetches.add(fetch)
                fetch.add_done_callback(self._fetches.discard)

    async def _fetch(self, job: int, status: int | None, out: int, err: int, full: bool) -> None:
        try:
            if job in self._awaited:
                stdout = await self._output(job, "out", out)
                stderr = await self._output(job, "err", err)
                await self._raise_the_noise()
                self._ears.exit(Exit(job, status, stdout, stderr, full))
            await self._ask(f"drop {job}")
        finally:
            self._fetching.discard(job)

    async def _output(self, job: int, name: str, size: int) -> bytes:
        data = bytearray()
        block = BLOCK
        while len(data) < size:
            head = f"data {job} {name} {len(data) // block} {block} "
            # Small blocks fit between two messages where large ones are hit each time; blocks only ever halve, so that
            # what is there already is a whole number of them.
            answer = await self._ask(
                f"get {job} {name} {len(data) // block} {block}", tries=2 if block > SMALLEST_BLOCK else None
            )
            if not answer:
                block //= 2
                continue
            piece = b""
            with contextlib.suppress(binascii.Error):
                piece = base64.b64decode(answer.removeprefix(head), validate=True)
            if not answer.startswith(head) or len(piece) < min(block, size - len(data)):
                self._ears.broken(answer[:200])
                raise asyncio.CancelledError
            data += piece[: size - len(data)]
        return bytes(data)
