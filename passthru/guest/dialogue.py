# SPDX-License-Identifier: GPL-2.0-or-later
"""Dialogues with whatever is on a console: log-in prompts, boot loaders, interactive shells. pexpect's home.

pexpect reads descriptors; here the one reader of the console feeds it, and only its search is used (the Expecter, as
pexpect/_async_w_await.py uses it).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, cast

import pexpect
from pexpect.expect import Expecter, searcher_re
from pexpect.spawnbase import SpawnBase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import BytesIO

    from passthru.deadline import Deadline
    from passthru.guest.console import Console

    _Base = SpawnBase[bytes]
else:
    _Base = SpawnBase  # generic in its stubs only

EOF = pexpect.EOF
Pattern = str | bytes | re.Pattern[bytes] | type[pexpect.EOF]


class _Fed(_Base):
    """A pexpect child without a descriptor."""

    _before: BytesIO
    _buffer: BytesIO


class Dialogue:
    """Sends to a console and waits for what it shows, from the moment of its making.

    ``before``, ``after`` and ``match`` are pexpect's: what came before the match, what matched, and the match."""

    def __init__(self, console: Console, last_lines: Callable[[], Sequence[str]] | None = None) -> None:
        self._console = console
        self._last_lines = last_lines or self._shown
        self._child = _Fed(timeout=None)
        self._expecter: Expecter[bytes] | None = None
        self._found: asyncio.Future[int] | None = None
        self._stop = console.listen(self._feed)
        console.ended.add_done_callback(self._end)

    @property
    def before(self) -> bytes:
        """What was shown before the match, or all of it where nothing matched."""
        return self._child.before if isinstance(self._child.before, bytes) else b""

    @property
    def after(self) -> bytes:
        """What matched; empty at the end of the stream."""
        return self._child.after if isinstance(self._child.after, bytes) else b""

    @property
    def match(self) -> re.Match[bytes] | None:
        """The match itself, with its groups."""
        return self._child.match if isinstance(self._child.match, re.Match) else None

    async def send(self, data: bytes | str) -> None:
        """Send as it is."""
        await self._console.send(data.encode() if isinstance(data, str) else data)

    async def send_line(self, line: bytes | str = b"") -> None:
        """Send with the return that a person would type."""
        await self.send((line.encode() if isinstance(line, str) else line) + b"\r")

    async def expect(self, patterns: Pattern | Sequence[Pattern], deadline: Deadline) -> int:
        """Wait until one of ``patterns`` (regular expressions over bytes; ``EOF`` for the end) is shown; its index.

        Raises DeadlineExceeded, and pexpect.EOF where the stream ends and EOF is none of the patterns."""
        asked = [patterns] if isinstance(patterns, (str, bytes, re.Pattern, type)) else list(patterns)
        expecter = Expecter(self._child, searcher_re(self._child.compile_pattern_list(cast("Any", asked))))
        index: int | None = expecter.existing_data()
        if index is not None:
            return index
        if self._console.ended.done():
            return int(expecter.eof())
        self._expecter = expecter
        self._found = asyncio.get_running_loop().create_future()
        try:
            shown = " or ".join(repr(_shown(pattern)) for pattern in asked)
            async with deadline.waiting_for(f"{shown} on {self._console.name}", self._last_lines):
                return await self._found
        finally:
            self._expecter = self._found = None
            if self._child.before is None:
                expecter.errored()

    def close(self) -> None:
        """Stop listening; the console goes on."""
        self._stop()

    def _feed(self, data: bytes) -> None:
        if self._expecter is None or self._found is None or self._found.done():
            self._child._before.write(data)
            self._child._buffer.write(data)
            return
        try:
            index = self._expecter.new_data(data)
        except Exception as error:
            self._found.set_exception(error)
            return
        if index is not None:
            self._found.set_result(index)

    def _end(self, _ended: asyncio.Future[None]) -> None:
        if self._expecter is None or self._found is None or self._found.done():
            return
        try:
            self._found.set_result(self._expecter.eof())
        except pexpect.EOF as error:
            self._found.set_exception(error)

    def _shown(self) -> Sequence[str]:
        return self._child._before.getvalue().decode("utf-8", "replace").splitlines()[-15:]


def _shown(pattern: Any) -> str:
    if pattern is EOF:
        return "the end of the stream"
    text = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
