# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said between the host and the shell agent (images/guest/agent holds the other side).

Requests are lines of printable ASCII:

    hello                     -> hello 1 GENERATION RELEASE    (also said unasked whenever an agent starts)
    text ID INDEX ESCAPED        append to the script of job ID
    run ID INDEX ESCAPED         append, then run it
                              -> exit ID STATUS OUT-BYTES ERR-BYTES NOTE, the bytes, and "end ID" on a line
    kill ID                      end all of its session; its exit follows
    ping N                    -> pong N
    shell ROWS COLUMNS        -> shell TTY
    poweroff, reboot

STATUS is a number, or "lost" when the job killed who waited for it; NOTE is "ok", or "full" when the memory for
outputs was full while it ran. On a line of its own answers come as they are, each in one piece; on the line that
kernel messages share they are frames (shared_line.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = "1"
_SPECIAL = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")


@dataclass(frozen=True)
class Exit:
    """The end of a job as the agent tells it; ``status`` None: the job killed who waited for it."""

    job: int
    status: int | None
    stdout: bytes
    stderr: bytes
    full: bool


@dataclass(frozen=True)
class Hello:
    """An agent that has started; another ``generation`` means that the one before, and its jobs, are gone."""

    generation: str
    release: str


@dataclass(frozen=True)
class Ears:
    """Who hears what an agent says. ``broken`` is told what could not be understood: nothing later is sound."""

    hello: Callable[[Hello], None]
    exit: Callable[[Exit], None]
    word: Callable[[str, str], None]
    broken: Callable[[str], None]


class Link(Protocol):
    """A way to an agent."""

    @property
    def longest_request(self) -> int:
        """Characters of a script that one request may carry."""

    @property
    def last_heard(self) -> float:
        """When the agent said anything, on the monotonic clock."""

    async def request(self, line: str) -> None:
        """Send one request; where the way is unsure, until it has arrived."""

    def expect_exit(self, job: int, awaited: bool) -> None:
        """Tell the link that the exit of a job is awaited, or no longer."""

    def close(self) -> None:
        """Stop listening."""


def escaped(script: bytes) -> str:
    """``script`` as printable ASCII for the agent's printf %b."""
    return _SPECIAL.sub(_escape, script).decode("ascii")


def _escape(found: re.Match[bytes]) -> bytes:
    return b" " if found[0] == b" " else b"\\0%03o" % ord(found[0])


def pieces(script: bytes, size: int) -> Iterator[str]:
    """The escaped script in pieces of at most ``size`` characters, at least one, whole escapes each.

    A piece neither begins nor ends with a space: the agent's ``read`` would drop it."""
    units = re.findall(r"\\0[0-7]{3}|[^\\]", escaped(script))
    piece: list[str] = []
    length = 0
    for unit in units:
        if length + len(unit) > size - 8:
            yield _without_outer_spaces(piece)
            piece, length = [], 0
        piece.append(unit)
        length += len(unit)
    yield _without_outer_spaces(piece or [" "])


def _without_outer_spaces(units: list[str]) -> str:
    for end in (0, -1):
        if units and units[end] == " ":
            units[end] = "\\0040"
    return "".join(units)
