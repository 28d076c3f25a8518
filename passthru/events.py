# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens, told as frozen events; reports only listen.

Every event has ``kind``, the name it carries in ``events.jsonl``. A teller is any callable that takes an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    kind: ClassVar[str] = "event"


@dataclass(frozen=True)
class Progress(Event):
    """A long piece of work goes on: ``done`` of ``total`` in ``unit`` (bytes, packages, steps); total None: unknown.

    ``work`` is the same string for all the events of one piece; ``finished`` marks its last one.
    """

    kind: ClassVar[str] = "progress"
    work: str
    done: float = 0
    total: float | None = None
    unit: str = ""
    finished: bool = False


@dataclass(frozen=True)
class Note(Event):
    """Something that a person should know: a fallback taken, a quirk seen, a capability missing."""

    kind: ClassVar[str] = "note"
    text: str


Tell = Callable[[Event], None]


def tell_nobody(event: Event) -> None:
    """A teller for those who do not listen."""
