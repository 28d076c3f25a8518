# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as a child of a host's worker, once: its report line by line, until it is done, or what ended it.

The report leaves by a stream of the child's, so from a rig as well. On a device of a kernel the suite begins a test
only once its name has come here: a kernel that dies takes with it what had not left the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, PassthruError, Unusable, UserMistake
from passthru.host import ChildSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from passthru.host import Child, Exit, Host

    Line = dict[str, Any]
    Take = Callable[[Line], Awaitable[None]]

MODULE = "passthru.vfio.conform"
_REPORT = "report"
_LONGEST_LINE = 1 << 24
_EXIT_SECONDS = 30.0
TEST_LIMITS = 12
"""How many times as long as an answer a whole test may take."""
_STATUSES = {UserMistake.exit_code: UserMistake, Unusable.exit_code: Unusable}
_BY_THE_DEVICE = (signal.SIGBUS, signal.SIGSEGV)
"""The signals by which memory of the device's ends who looks at it."""


async def unguarded(awaited: Awaitable[Any]) -> Any:
    """Nothing ends the wait but what is awaited."""
    return await awaited


@dataclass(frozen=True)
class SuiteOptions:
    """What the user asks of the suite."""

    only: tuple[str, ...] = ()
    """Patterns of names and topics; none: all."""
    dangerous: bool = False
    """Also what is known to crash the kernel."""
    stub: str = ""
    """FILE.py[:CLASS] as the host has it; empty: the one that passthru has for the device."""
    time_limit: float = 5.0
    """Seconds that the device may take for an answer, before scaling."""


class Ending(Enum):
    """How a go of the suite ended."""

    DONE = "done"
    GONE = "the device is gone"
    HUNG = "a test hung"
    DIED = "the suite was killed"


@dataclass(frozen=True)
class Ended:
    """The end of a go: in the test ``test`` where one was running; ``words`` say more, and may be empty."""

    ending: Ending
    test: str = ""
    words: str = ""
    by_the_device: bool = True
    """Whether what the device did ended it."""


@dataclass(frozen=True)
class Go:
    """One go of the suite on ``host``, against ``target``; what it prints beside its report goes to ``output``."""

    host: Host
    name: str
    target: Mapping[str, str]
    options: SuiteOptions
    output: Path
    scale: float = 1.0
    """How much longer everything takes there."""
    guard: Callable[[Awaitable[Any]], Awaitable[Any]] = field(default=unguarded)
    """Ends a wait by what befalls the host."""

    @property
    def paced(self) -> bool:
        """Whether a test waits until its name has come here."""
        return self.target["transport"] == "kernel"

    @property
    def test_seconds(self) -> float:
        """How long the suite lets a test take."""
        return TEST_LIMITS * self.options.time_limit * self.scale

    async def run(self, take: Take, only: Sequence[str] | None = None) -> Ended:
        """Run it to its end; ``take`` gets each line of the report. ``only`` are names instead of the user's patterns.

        Raises UserMistake and Unusable as the suite tells them before it begins, what ``guard`` and the host raise.
        """
        spec = ChildSpec(self.name, self._argv(only), streams=(_REPORT,), output=self.output)
        child = await self.host.start(spec)
        try:
            reader, writer = await asyncio.open_connection(sock=child.streams[_REPORT], limit=_LONGEST_LINE)
            try:
                return await self._listen(child, reader, writer, take)
            finally:
                writer.close()
        finally:
            with contextlib.suppress(PassthruError):  # the worker has gone, and the child with it
                await child.kill()

    def _argv(self, only: Sequence[str] | None) -> tuple[str, ...]:
        options = self.options
        words = ["--target", json.dumps(dict(self.target)), "--report", f"{{stream:{_REPORT}}}"]
        for pattern in options.only if only is None else only:
            words += ["--only", pattern]
        words += ["--dangerous"] if options.dangerous else []
        words += ["--stub", options.stub] if options.stub else []
        words += ["--paced"] if self.paced else []
        words += ["--time-limit", f"{options.time_limit * self.scale:g}", "--test-limit", f"{self.test_seconds:g}"]
        return self.host.own_command(MODULE, *words)

    async def _listen(
        self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, take: Take
    ) -> Ended:
        running = ""
        while True:
            # It ends a test itself that takes too long, where Python can; this is for where it cannot.
            patience = Deadline.after(self.test_seconds + _EXIT_SECONDS * self.scale)
            try:
                async with patience.waiting_for(f"the test {running}" if running else "the suite to begin"):
                    read = await self.guard(reader.readline())
            except DeadlineExceeded as error:
                return Ended(Ending.HUNG, running, f"nothing came of it for {error.seconds:.0f} s")
            if not read.endswith(b"\n"):
                return await self._ended(child, running)
            line = json.loads(read)
            await take(line)
            match line["event"]:
                case "started":
                    running = line["test"]
                    if self.paced:
                        writer.write(b"\n")
                case "ended":
                    running = ""
                case "gone":
                    return Ended(Ending.GONE, line["test"], line["summary"])
                case "done":
                    return Ended(Ending.DONE)

    async def _ended(self, child: Child, running: str) -> Ended:
        """What the end of the report means that did not say "done"."""
        exit_: Exit = await self.guard(child.wait(Deadline.after(_EXIT_SECONDS, scale=self.scale)))
        said = await asyncio.to_thread(self._last_line)
        if exit_.code in _STATUSES and not running:
            raise _STATUSES[exit_.code](said or f"the suite {exit_}")
        words = f"the suite {exit_}" + (f'; it last said: "{said}"' if said else "")
        return Ended(Ending.DIED, running, words, by_the_device=exit_.signal in _BY_THE_DEVICE)

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = [line.strip() for line in self.output.read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1] if lines else ""
        return ""
