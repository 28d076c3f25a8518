# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs tests one after the other, each on a device in order, and gives each its verdict."""

from __future__ import annotations

import random
import signal
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from passthru.vfio.conform.capabilities import MISSING
from passthru.vfio.conform.case import Case, Failed, Missing
from passthru.vfio.conform.known_defects import known_defect
from passthru.vfio.malformed import Malformed
from passthru.vfio.stubs.mc_portal import McRefused
from passthru.vfio.stubs.stub import DmaFault
from passthru.vfio.transcript import name_of_errno

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from passthru.vfio.conform.bench import Bench
    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.conform.registry import Test
    from passthru.vfio.conform.report import Report


class Overdue(TimeoutError):
    """A test took longer than it has."""


class Runner:
    """``limit`` is how many seconds a test has; with ``dangerous``, known defects keep no test from running."""

    def __init__(
        self, bench: Bench, facts: Facts, report: Report, *, seed: int, limit: float, dangerous: bool = False
    ) -> None:
        self._bench = bench
        self._facts = facts
        self._report = report
        self._seed = seed
        self._limit = limit
        self._dangerous = dangerous

    def run(self, tests: Sequence[Test]) -> None:
        """Run them all and report; when the target is gone, the rest is left."""
        for test in tests:
            reason = self._skipped(test)
            if reason:
                self._report.ended(test, "skipped", 0.0, reason)
                continue
            self._report.started(test)
            verdict = self._judge(test)
            if verdict in ("passed", "skipped"):
                continue
            if gone := self._reopened():
                self._report.gone(test, f"the target cannot be opened any more: {gone}")
                return
        self._bench.drop()
        self._report.done()

    def _skipped(self, test: Test) -> str:
        """Why a test is not run; empty where it is."""
        for word in test.needs:
            if word not in self._facts.capabilities:
                return MISSING[word]
        return "" if self._dangerous else known_defect(test, self._facts)

    def _judge(self, test: Test) -> str:
        begun = time.monotonic()
        case = Case(self._bench, self._facts, random.Random(f"{self._seed} {test.name}"))
        verdict, summary, details = "passed", "", []
        try:
            with _limited(self._limit):
                self._run(test, case)
        except Exception as error:
            verdict, summary = verdict_on(error)
            if verdict == "failed":
                details = self._details(test, case, summary)
            elif verdict == "error":
                details = _where(error)
        self._report.ended(test, verdict, time.monotonic() - begun, summary, details)
        return verdict

    def _run(self, test: Test, case: Case) -> None:
        if test.fresh:
            self._bench.drop()
        else:
            transcript = self._bench.opened.device.transcript
            transcript.clear()
            case.transcripts.append(transcript)
        try:
            with case:
                test.body(case)
        except Missing:
            self._settle(test)
            raise
        self._settle(test)

    def _settle(self, test: Test) -> None:
        if not test.fresh:
            self._bench.settle()

    def _details(self, test: Test, case: Case, summary: str) -> list[str]:
        seed = [f"seed: {self._seed}"] if "random" in test.name else []
        return [summary, f"demanded: {test.demand}", f"by: {test.cites}", *seed, "last calls:", *case.calls]

    def _reopened(self) -> str:
        """Open the target anew after what was no success; returns why that cannot be done."""
        try:
            with _limited(self._limit):
                self._bench.drop()
                _ = self._bench.opened
        except (OSError, Malformed) as error:
            return sentence(error)
        return ""


def verdict_on(error: Exception) -> tuple[str, str]:
    """The verdict that an exception out of a test means, and its sentence.

    What the device refused or answered wrongly is its failure; anything else is a mistake of ours, and judges nothing.
    """
    match error:
        case Missing():
            return "skipped", str(error)
        case Failed() | Malformed() | DmaFault() | McRefused():
            return "failed", sentence(error)
        case OSError():
            return "failed", sentence(error)
        case _:
            return "error", "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def sentence(error: Exception) -> str:
    """What an error says, with its errno's name."""
    said = (error.strerror or "") if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.errno:
        return f"{name_of_errno(error)}: {said}"
    return said or type(error).__name__


def _where(error: Exception) -> list[str]:
    return [line for part in traceback.format_exception(error) for line in part.rstrip().splitlines()]


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise Overdue within after ``seconds``; for the main thread only, SIGALRM is taken."""

    def overdue(number: int, frame: FrameType | None) -> None:
        raise Overdue(f"the test was not over after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
