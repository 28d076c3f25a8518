# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run tells, beside the general events of ``passthru.events``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthru.events import Event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.run.outcome import Judgement, Outcome


@dataclass(frozen=True)
class RunStarted(Event):
    """A run began: its scenario's name and summary, and its run directory."""

    kind: ClassVar[str] = "run-started"
    scenario: str
    summary: str
    directory: Path


@dataclass(frozen=True)
class PhaseStarted(Event):
    """A part of the run began: ``prepare``, ``host``, ``devices``, ``attach``, ``boot``, ``checks``."""

    kind: ClassVar[str] = "phase-started"
    phase: str
    text: str


@dataclass(frozen=True)
class PhaseEnded(Event):
    """A part of the run ended, ``seconds`` after it began."""

    kind: ClassVar[str] = "phase-ended"
    phase: str
    seconds: float
    text: str = ""


@dataclass(frozen=True)
class DevicePrepared(Event):
    """A device of the host's kernel is ready for the guest: at ``address`` there, in the IOMMU group ``group``.

    ``devices`` are all that changed hands with it.
    """

    kind: ClassVar[str] = "device-prepared"
    name: str
    address: str
    group: str | None
    devices: tuple[str, ...]


@dataclass(frozen=True)
class SuiteStarted(Event):
    """The conformance suite begins on a device; ``title`` says which, and the way to it, in words.

    ``tests`` are the ids of the checks that follow, ``facts`` what is known of the device: capabilities, kernel,
    driver.
    """

    kind: ClassVar[str] = "suite-started"
    device: str
    title: str
    tests: tuple[str, ...]
    facts: Mapping[str, object]


@dataclass(frozen=True)
class CheckStarted(Event):
    """The check with this id began."""

    kind: ClassVar[str] = "check-started"
    check: str


@dataclass(frozen=True)
class CheckEnded(Event):
    """A check ended with a judgement."""

    kind: ClassVar[str] = "check-ended"
    judgement: Judgement


@dataclass(frozen=True)
class HandoverStarted(Event):
    """From now on the terminal belongs to a person and the guest; reports keep off it."""

    kind: ClassVar[str] = "handover-started"


@dataclass(frozen=True)
class HandoverEnded(Event):
    """The terminal is ours again."""

    kind: ClassVar[str] = "handover-ended"


@dataclass(frozen=True)
class OfRun(Event):
    """An event of one run among several, by the name of its run directory."""

    kind: ClassVar[str] = "of-run"
    run: str
    event: Event


@dataclass(frozen=True)
class RunEnded(Event):
    """A run ended with an outcome; ``seconds`` is its whole length."""

    kind: ClassVar[str] = "run-ended"
    outcome: Outcome
    seconds: float
