# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kind of broken server is, and the list of them; modules beside this one add to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.vfio_user.stream import Message
    from tests.unit.vfio.conform.proxy import Line

TIME_LIMIT = 20.0
"""Seconds for a reply that the suite gives these servers, which share a busy machine."""
IMPATIENT = 0.5
"""The same for those that are too late."""


@dataclass(frozen=True)
class Broken:
    """A kind: the model behind it, the test that must fail, and what it says then (a regular expression)."""

    line: type[Line]
    model: str
    caught_by: str
    says: str
    time_limit: float = TIME_LIMIT

    @property
    def name(self) -> str:
        """The kind's, for people."""
        return self.line.__name__


KINDS: list[Broken] = []


def caught(
    by: str, says: str, model: str = "dma-engine", *, time_limit: float = TIME_LIMIT
) -> Callable[[type[Line]], type[Line]]:
    """Make a line a kind: the test ``by`` has to fail on it, and its summary to match ``says``."""

    def register(line: type[Line]) -> type[Line]:
        KINDS.append(Broken(line, model, by, says, time_limit))
        return line

    return register


def number(message: Message, at: int, size: int = 4) -> int:
    """A number in the payload, ``at`` bytes from its start."""
    return int.from_bytes(message.payload[at : at + size], "little")


def with_number(message: Message, at: int, value: int, size: int = 4) -> Message:
    """The message with another number in its payload, and the same descriptors, which stay the old one's to close."""
    payload = message.payload[:at] + value.to_bytes(size, "little") + message.payload[at + size :]
    return replace(message, payload=payload)
