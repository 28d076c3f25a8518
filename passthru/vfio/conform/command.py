# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as a command, for a controlling side: options in, report lines out.

It is a child of the worker, or run by hand. Exit status 0 where the report says all there is to say, 1 where nobody
takes the report any more, 2 for what the caller wrote wrong, 125 where the target cannot be opened at all; those two
with a sentence as the last line on stderr.
"""

from __future__ import annotations

import faulthandler
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from passthru.errors import PassthruError, Unusable, UserMistake
from passthru.vfio.conform.registry import Test, all_tests
from passthru.vfio.conform.report import Report, Unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.vfio.conform.description import Description
    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.device import VfioDevice
    from passthru.vfio.stubs.stub import Identity, Stub

USAGE = """\
usage: python -m passthru.vfio.conform --target JSON [--only PATTERN]... [--dangerous] [--stub FILE.py[:CLASS]]
           [--time-limit SECONDS] [--test-limit SECONDS] [--seed NUMBER] [--report FD] [--paced]
       python -m passthru.vfio.conform --list
"""


@dataclass(frozen=True)
class Options:
    """``time_limit`` is seconds for a device server's reply, ``test_limit`` for a whole test."""

    target: str = ""
    only: tuple[str, ...] = ()
    stub: str = ""
    dangerous: bool = False
    list: bool = False
    paced: bool = False
    time_limit: float = 5.0
    test_limit: float = 60.0
    seed: int = 1
    report: int = 1


_FLAGS = ("dangerous", "list", "paced")
_VALUES: dict[str, Callable[[str], object]] = {
    "target": str,
    "stub": str,
    "time_limit": float,
    "test_limit": float,
    "seed": int,
    "report": int,
}


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    with suppress(OSError, RuntimeError, ValueError):  # without a stderr there is nobody to tell
        faulthandler.enable(all_threads=False)
    if "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    try:
        options = parse(arguments)
        tests = choose(all_tests(), options.only)
        report = Report(options.report, paced=options.paced)
        if options.list:
            report.tests(tests)
        else:
            judge(options, tests, report)
    except Unheard:
        return 1
    except PassthruError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception:  # a mistake of ours, or of a stub while the suite looks what it can
        traceback.print_exc()
        return PassthruError.exit_code
    return 0


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line. Raises UserMistake."""
    given: dict[str, Any] = {}
    only: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name not in (*_FLAGS, *_VALUES, "only"):
            raise UserMistake(f"{word} is no option of this command\n{USAGE}")
        if name in _FLAGS:
            given[name] = True
            continue
        if not rest:
            raise UserMistake(f"{word} takes a value")
        value = rest.pop(0)
        if name == "only":
            only.append(value)
            continue
        try:
            given[name] = _VALUES[name](value)
        except ValueError as error:
            raise UserMistake(f"{word} takes a number, not {value!r}") from error
    options = Options(only=tuple(only), **given)
    if not options.target and not options.list:
        raise UserMistake(f"--target is missing\n{USAGE}")
    return options


def choose(tests: Sequence[Test], patterns: Sequence[str]) -> list[Test]:
    """The tests whose name or topic one of the patterns matches; all without patterns. Raises UserMistake for none."""
    for pattern in patterns:
        if not any(test.matches(pattern) for test in tests):
            raise UserMistake(f"no test is called {pattern}; --list names them")
    return [test for test in tests if not patterns or any(test.matches(pattern) for pattern in patterns)]


def applies(test: Test, facts: Facts) -> bool:
    """Whether a test is for a target of this kind; what that lacks beside is another matter (`Runner`)."""
    from passthru.vfio.conform.capabilities import OF_ANOTHER_KIND

    return not any(word in OF_ANOTHER_KIND and word not in facts.capabilities for word in test.needs)


def judge(options: Options, tests: Sequence[Test], report: Report) -> None:
    """Run tests against the target of the options. Raises UserMistake, Unusable and Unheard."""
    from passthru.vfio.conform.bench import Bench
    from passthru.vfio.conform.description import parse_description
    from passthru.vfio.conform.facts import gather, identify
    from passthru.vfio.conform.runner import Runner, sentence
    from passthru.vfio.conform.settling import steps_before, steps_for
    from passthru.vfio.malformed import Malformed

    description = parse_description(options.target, options.time_limit)
    target = description.target
    kinds = _Stubs(options.stub, description, identify)
    bench = Bench(target, kinds.stub_of)
    try:
        _ = bench.opened
        facts = gather(description, bench)
    except (OSError, Malformed) as error:
        raise Unusable(f"{target.title} cannot be opened: {sentence(error)}") from error
    bench.settling, bench.preparing = steps_for(facts), steps_before(facts)
    bench.drop()  # the first opening was not prepared
    tests = [test for test in tests if test.name in options.only or applies(test, facts)]
    if not tests:
        raise Unusable(f"none of the chosen tests applies to {target.title}; leave --only out")
    report.target(target.title, facts, options.seed)
    report.tests(tests)
    runner = Runner(bench, facts, report, seed=options.seed, limit=options.test_limit, dangerous=options.dangerous)
    runner.run(tests)


class _Stubs:
    """Makes the stub for a device: the user's own, or the one that knows it."""

    def __init__(
        self, reference: str, description: Description, identify: Callable[[Description, VfioDevice], Identity]
    ) -> None:
        from passthru.own_code import OwnCodeError
        from passthru.vfio.stubs.catalogue import from_file

        try:
            self._own = from_file(reference) if reference else None
        except OwnCodeError as error:
            raise UserMistake(str(error)) from error
        self._description = description
        self._identify = identify

    def stub_of(self, device: VfioDevice) -> Stub | None:
        from passthru.vfio.stubs.catalogue import stub_for

        identity = self._identify(self._description, device)
        kind = self._own or stub_for(identity)
        return kind(device, identity) if kind else None
