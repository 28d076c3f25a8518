# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a run of the suite: one JSON object a line, each written before anything else happens.

So a kernel or a process that dies is known to have died in a test that was named.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.conform.registry import Test


class Unheard(Exception):
    """Nobody takes the report any more."""


class Report:
    """Writes to ``descriptor``. When ``paced``, it reads a byte there after each beginning: the line has arrived.

    Raises Unheard, at the next line, when the other side has gone.
    """

    def __init__(self, descriptor: int, *, paced: bool = False) -> None:
        self._descriptor = descriptor
        self._paced = paced

    def target(self, title: str, facts: Facts, seed: int) -> None:
        """What is judged, and the seed of the random tests."""
        self._write(event="target", title=title, facts=facts.told(), seed=seed)

    def tests(self, tests: Iterable[Test]) -> None:
        """Which tests there are to be."""
        told = [
            {
                "name": test.name,
                "topic": test.topic,
                "demand": test.demand,
                "cites": test.cites,
                "needs": list(test.needs),
            }
            for test in tests
        ]
        self._write(event="tests", tests=told)

    def started(self, test: Test) -> None:
        """A test begins now."""
        self._write(event="started", test=test.name)
        if self._paced and not self._read():
            raise Unheard

    def ended(self, test: Test, verdict: str, seconds: float, summary: str, details: Sequence[str] = ()) -> None:
        """A test has a verdict: passed, failed, skipped or error."""
        self._write(
            event="ended",
            test=test.name,
            verdict=verdict,
            seconds=round(seconds, 6),
            summary=summary,
            details=list(details),
            cites=test.cites,
        )

    def gone(self, test: Test, summary: str) -> None:
        """The target cannot be opened any more since ``test``; the tests after it are not judged."""
        self._write(event="gone", test=test.name, summary=summary)

    def done(self) -> None:
        """Every test has a verdict."""
        self._write(event="done")

    def _write(self, **line: object) -> None:
        rest = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except (BrokenPipeError, ConnectionError) as error:
            raise Unheard from error

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, 1)
        except ConnectionError as error:
            raise Unheard from error
