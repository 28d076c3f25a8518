# SPDX-License-Identifier: GPL-2.0-or-later
"""``conform``: the conformance suite of `passthru conform`, on a device of the host's that no guest has.

It passes where no test failed and one at least passed. A test that is skipped for want of a capability of the device is
told, and does not weigh; one that could not be judged makes the check one that could not.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from passthru.check.finding import Finding, Verdict
from passthru.check.options import DeviceCheckOptions
from passthru.check.suite import TESTS, Wanted
from passthru.errors import MissingCapability
from passthru.own_code import OwnCodeError, files_of, split_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.check.context import Context
    from passthru.check.suite import Report, SuiteTest

_SHOWN = 3
"""Tests that a summary names."""


def _stub(reference: str) -> str:
    from passthru.vfio.stubs.catalogue import from_file

    if not reference:
        return reference
    try:
        from_file(reference)
        file, _ = split_reference(reference) or ("", "")
    except OwnCodeError as error:
        raise ValueError(f"names no stub: {error}") from error
    beside = [Path(each).name for each in files_of(file) if Path(each) != Path(file)]
    if beside:
        raise ValueError(f"imports {', '.join(beside)} from beside it; the stub of a scenario is one file")
    return reference


class Options(DeviceCheckOptions):
    """A check with ``use = "conform"``."""

    with_guest: ClassVar[bool] = False
    without_guest: ClassVar[bool] = True

    use: Literal["conform"]
    only: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Patterns of the names and topics of tests ("irq*", "dma"), as `passthru conform --list` tells them; all by
    default."""
    dangerous: bool = False
    """Whether to run also what is known to crash the kernel's driver of the device."""
    stub: Annotated[str, AfterValidator(_stub)] = ""
    """FILE.py[:CLASS], relative to this file: what makes the device interrupt and reach memory; by default the one that
    passthru has for it."""
    test_limit: float = Field(default=60.0, gt=0)
    """Seconds that each test may take (stretched where the host is emulated)."""
    timeout: float = Field(default=300.0, gt=0)
    """Seconds that the check may take at most (stretched where the host is emulated)."""

    @property
    def brings(self) -> tuple[str, ...]:
        """The stub."""
        named = split_reference(self.stub) if self.stub else None
        return (named[0],) if named else ()


async def judge(context: Context, options: Options) -> Finding:
    """Run the suite, and take its word."""
    if context.suite is None:
        raise MissingCapability("the conformance suite", "nobody here can run the conformance suite on the host")
    wanted = Wanted(options.only, options.dangerous, options.stub, options.test_limit)
    return judged(await context.suite.judge(context.the_device.id, wanted, context.deadline))


def judged(report: Report) -> Finding:
    """What the suite's report amounts to."""
    by_verdict = {verdict: [test for test in report.tests if test.finding.verdict is verdict] for verdict in Verdict}
    counts = ", ".join(f"{len(tests)} {verdict.value}" for verdict, tests in by_verdict.items() if tests)
    of = f" of {report.title}" if report.title else ""
    facts = {**report.facts, "title": report.title, TESTS: [_told(test) for test in report.tests]}
    wrong = [*by_verdict[Verdict.FAILED], *by_verdict[Verdict.ERROR]]
    details = tuple(line for test in wrong for line in _lines(test))
    suite = f"the conformance suite{of}"
    if failed := by_verdict[Verdict.FAILED]:
        rest = (report.broken_off,) if report.broken_off else ()
        return Finding(Verdict.FAILED, f"{suite}: {counts}: {_names(failed)}", (*details, *rest), facts)
    if report.broken_off or wrong:
        why = report.broken_off or f"could not judge {_names(wrong)}"
        return Finding(Verdict.ERROR, f"{suite}: {counts or 'nothing was judged'}: {why}", details, facts)
    if not by_verdict[Verdict.PASSED]:
        reasons = Counter(test.finding.summary for test in report.tests)
        first = f": {reasons.most_common(1)[0][0]}" if reasons else ""
        return Finding(Verdict.SKIPPED, f"{suite}: {counts or 'none of its tests is for it'}{first}", (), facts)
    told = tuple(f"skipped: {test.name}: {test.finding.summary}" for test in by_verdict[Verdict.SKIPPED])
    return Finding(Verdict.PASSED, f"{suite}: {counts}", told, facts)


def _told(test: SuiteTest) -> dict[str, Any]:
    return {
        "name": test.name,
        "topic": test.topic,
        "verdict": test.finding.verdict.value,
        "summary": test.finding.summary,
        "details": list(test.finding.details),
        "seconds": test.seconds,
    }


def _lines(test: SuiteTest) -> list[str]:
    return [f"{test.name}: {test.finding.summary}", *(f"  {line}" for line in test.finding.details)]


def _names(tests: Sequence[SuiteTest]) -> str:
    shown = ", ".join(test.name for test in tests[:_SHOWN])
    return f"{shown} and {len(tests) - _SHOWN} more" if len(tests) > _SHOWN else shown
