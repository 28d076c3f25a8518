# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told about a host, its worker and its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passthru.events import Event


@dataclass(frozen=True)
class WorkerStarted(Event):
    """The worker serves; ``seconds`` after it was started."""

    kind: ClassVar[str] = "worker-started"
    pid: int
    scratch: str
    kernel: str
    python: str
    seconds: float


@dataclass(frozen=True)
class ChildStarted(Event):
    """A program was started; ``argv`` is what it really got."""

    kind: ClassVar[str] = "child-started"
    name: str
    pid: int
    argv: tuple[str, ...]


@dataclass(frozen=True)
class ChildExited(Event):
    """A program exited by itself (``code``) or by a signal; ``cpu`` in seconds."""

    kind: ClassVar[str] = "child-exited"
    name: str
    pid: int
    code: int | None
    signal: int | None
    cpu: float


@dataclass(frozen=True)
class WorkerEnded(Event):
    """The worker ended, asked to or (``lost``) not; ``failed`` are sentences about what could not be undone."""

    kind: ClassVar[str] = "worker-ended"
    pid: int
    lost: str | None
    failed: tuple[str, ...]
    seconds: float
