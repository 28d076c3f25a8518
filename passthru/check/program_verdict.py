# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of a test program, by its exit status, or by TAP or KTAP in what it printed and the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from passthru.check import tap
from passthru.check.finding import Finding, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Format = Literal["exit", "tap", "ktap", "auto"]

_SHOWN = 5
"""Lines of diagnostics that tell of a failed test."""


def judged_by(form: Format, name: str, output: str, status: int, skips: Collection[int]) -> Finding:
    """What the program ``name`` found, which ended with ``status`` (negative: killed by that signal).

    ``skips`` are the statuses by which it tells that it could not test anything. ``auto`` is TAP where the output is.
    """
    if form == "exit" or (form == "auto" and not tap.begins(output)):
        return _by_status(name, output, status, skips)
    return _by_results(form, name, output, status, skips)


def _by_status(name: str, output: str, status: int, skips: Collection[int]) -> Finding:
    last = output.rstrip().splitlines()[-_SHOWN:]
    if status in skips:
        said = last[-1] if last else "nothing"
        return _skipped(name, f"it ended with status {status} and said last: {said}")
    return judged(
        [_ended(status)] if status != 0 else [],
        passed=f"{name} ended with status 0 on the host",
        failed=f"{name} on the host",
        told=[f"it said last: {line}" for line in last] if status != 0 else [],
    )


def _by_results(form: Format, name: str, output: str, status: int, skips: Collection[int]) -> Finding:
    block = tap.parse(output)
    leaves = list(block.leaves())
    failed = [(path, result) for path, result, excused in leaves if not result.ok and not excused]
    skipped = [(path, result) for path, result, _ in leaves if result.skipped]
    passed = [path for path, result, _ in leaves if result.ok and not result.skipped]
    excused = [(path, result) for path, result, free in leaves if free and not result.ok and not result.skipped]
    surprises = [path for path, result, _ in leaves if result.ok and result.directive in ("TODO", "XFAIL", "XPASS")]
    counts = {
        "passed": len(passed),
        "failed": len(failed),
        "skipped": len(skipped),
        "failed as expected": len(excused),
    }
    facts = {"tests": counts}
    told = [f"skipped: {path}{_because(result.reason)}" for path, result in skipped]
    told += [f"failed as expected: {path}{_because(result.reason)}" for path, result in excused]
    told += [f"passed against expectation: {path}" for path in surprises]
    wrong = [f"{path} is not ok{_by_word(result)}" for path, result in failed]
    telling = block.complaints()
    nothing = not passed and not excused and not wrong and block.bailed is None
    by_its_word = status in skips or (status == 0 and not telling)
    if nothing and by_its_word and (skipped or block.plan == 0):
        reason = skipped[0][1].reason if skipped else block.reason
        return _skipped(name, f"it skipped all of its tests{_because(reason)}", tuple(told), facts)
    if not leaves and block.plan is None and block.bailed is None:
        wrong.append(f"it printed no {form.upper().replace('AUTO', 'TAP')} result and no plan")
    elif block.plan is None and block.bailed is None:
        wrong.append("it told no plan (1..N), so nobody knows whether all of its tests ran")
    elif block.plan == 0:
        wrong.append("it planned no test at all (1..0)")
    if form == "ktap" and leaves and not block.versioned:
        wrong.append('it told no version ("KTAP version 1"), which each KTAP begins with')
    wrong += telling
    if status < 0:
        wrong.insert(0, _ended(status))
    elif status != 0 and not wrong:
        wrong.append(f"{_ended(status)}, though none of its tests failed")
    if wrong and not failed:
        ended = [] if status <= 0 or _ended(status) in wrong[-1] else [_ended(status)]
        told = [*ended, *(f"it said last: {line}" for line in output.rstrip().splitlines()[-_SHOWN:]), *told]
    if failed:
        told = [f"{failed[0][0]}: {comment}" for comment in failed[0][1].comments[-_SHOWN:]] + told
    return judged(
        wrong,
        passed=f"{name} on the host: {_count(len(passed) + len(excused))} of {len(leaves)} passed"
        + (f", {len(skipped)} skipped" if skipped else ""),
        failed=f"{name} on the host",
        told=told,
        facts=facts,
    )


def _skipped(name: str, why: str, details: tuple[str, ...] = (), facts: Mapping[str, object] | None = None) -> Finding:
    return Finding(Verdict.SKIPPED, f"{name} could not test anything on the host: {why}", details, facts or {})


def _ended(status: int) -> str:
    if status < 0:
        return f"it was killed by signal {-status}"
    return f"it ended with status {status}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _by_word(result: tap.Result) -> str:
    word = " ".join(word for word in (result.directive, result.reason) if word)
    return f" ({word})" if word else ""


def _count(number: int) -> str:
    return "1 test" if number == 1 else f"{number} tests"
