# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's messages as lines, and the watch over them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from passthru.guest.splat import WORTH_A_LOOK, Splat, SplatCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.deadline import Deadline

TIME_STAMP = re.compile(r"\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_TURNED_OFF = re.compile(r"reboot: (?:Power down|Restarting system|System halted)")
QUIET_AFTER = 0.3
"""Seconds of silence after which a splat without an end mark counts as complete."""


class KernelLog:
    """Lines without time stamps, in order; feed it the bytes of the console that the kernel writes to."""

    def __init__(self, *, quirks: Sequence[str] = ()) -> None:
        self.lines: list[str] = []
        self.splats: list[Splat] = []
        self.quirks: list[Splat] = []
        self._partial = b""
        self._waiting: list[tuple[re.Pattern[str], asyncio.Future[str]]] = []
        self._watchers: list[Callable[[Splat], None]] = []
        self._alarms: list[Callable[[str, str], None]] = []
        self._collector = SplatCollector(self._begun, self._complete, tuple(re.compile(quirk) for quirk in quirks))
        self._timer: asyncio.TimerHandle | None = None

    def on_splat(self, watcher: Callable[[Splat], None]) -> None:
        """Call ``watcher`` with each splat, complete; one that is a known quirk has its ``quirk`` set."""
        self._watchers.append(watcher)

    def on_alarm(self, watcher: Callable[[str, str], None]) -> None:
        """Call ``watcher`` with kind and title at the first line of each splat, before it is complete."""
        self._alarms.append(watcher)

    def last_lines(self, count: int = 15) -> tuple[str, ...]:
        """The last lines, the unfinished one included."""
        partial = [_decoded(self._partial)] if self._partial else []
        return tuple([*self.lines[-count:], *partial][-count:])

    @property
    def turned_off(self) -> bool:
        """Whether the last lines tell that the machine turned itself off, or restarted."""
        return any(_TURNED_OFF.search(line) for line in self.last_lines())

    def lines_before(self, line: str, count: int) -> list[str]:
        """The lines before the last one that reads ``line``: what led to it."""
        at = next((number for number in range(len(self.lines) - 1, -1, -1) if self.lines[number] == line), 0)
        return self.lines[max(0, at - count) : at]

    def search(self, pattern: str | re.Pattern[str], since: int = 0) -> str | None:
        """The first line from number ``since`` on that holds ``pattern``."""
        compiled = re.compile(pattern)
        return next((line for line in self.lines[since:] if compiled.search(line)), None)

    async def wait_for(self, pattern: str | re.Pattern[str], deadline: Deadline, since: int = 0) -> str:
        """The first line from number ``since`` on that holds ``pattern``, now or later.

        Raises DeadlineExceeded. (``Guest.wait_for_line`` also ends at once when the guest dies.)"""
        compiled = re.compile(pattern)
        found = self.search(compiled, since)
        if found is not None:
            return found
        entry: tuple[re.Pattern[str], asyncio.Future[str]] = (compiled, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with deadline.waiting_for(f"a kernel message with {compiled.pattern!r}", self.last_lines):
                return await entry[1]
        finally:
            self._waiting.remove(entry)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the console."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        if not whole:
            return
        lines = [_decoded(line) for line in whole]
        self.lines += lines
        if self._waiting:
            self._tell_waiting(lines)
        if self._collector.open or any(WORTH_A_LOOK.search(line) for line in whole):
            for line in lines:
                self._collector.feed(line)
        self._watch_silence()

    def settle(self) -> None:
        """Take the splat that is still being told as complete."""
        self._collector.finish()

    def finish(self) -> None:
        """The console has ended: what was unfinished is all there will be."""
        if self._partial:
            self.feed(b"\n")
        self._collector.finish()
        self._watch_silence()

    def _tell_waiting(self, lines: Sequence[str]) -> None:
        for pattern, future in self._waiting:
            found = next((line for line in lines if pattern.search(line)), None)
            if found is not None and not future.done():
                future.set_result(found)

    def _watch_silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._collector.open:
            self._timer = asyncio.get_running_loop().call_later(QUIET_AFTER, self._collector.finish)

    def _begun(self, kind: str, title: str) -> None:
        for watcher in self._alarms:
            watcher(kind, title)

    def _complete(self, splat: Splat) -> None:
        (self.splats if splat.quirk is None else self.quirks).append(splat)
        for watcher in self._watchers:
            watcher(splat)


def _decoded(line: bytes) -> str:
    text = line.rstrip(b"\r").decode("utf-8", "replace")
    stamp = TIME_STAMP.match(text)
    return text[stamp.end() :] if stamp else text
