# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of the suite: a function each, its docstring what it demands, with the ioctl and document that say so."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.conform.case import Case

    Body = Callable[[Case], None]

_tests: dict[str, Test] = {}


@dataclass(frozen=True)
class Test:
    """One test: ``demand`` is its docstring's first line; ``cites`` names the ioctl and the document.

    ``needs`` are capabilities (`capabilities`); a target without one of them has the test skipped, naming it.
    """

    name: str
    topic: str
    demand: str
    cites: str
    needs: tuple[str, ...]
    body: Body
    fresh: bool = False
    """Whether it opens the device by itself, so that nobody else may hold it; such tests come last in their topic."""

    def matches(self, pattern: str) -> bool:
        """Whether a pattern (`fnmatch`) means this test, by its name or its topic."""
        return fnmatchcase(self.name, pattern) or fnmatchcase(self.topic, pattern)


def test(*needs: str, cites: str, fresh: bool = False) -> Callable[[Body], Body]:
    """Make a function a test: its name with hyphens is the test's, its docstring's first line what is demanded."""

    def register(body: Body) -> Body:
        name = body.__name__.replace("_", "-")
        if name in _tests:
            raise ValueError(f"two tests are called {name}")
        demand = (body.__doc__ or "").strip().splitlines()
        if not demand:
            raise ValueError(f"the test {name} does not say what it demands")
        topic = body.__module__.rpartition(".")[2]
        _tests[name] = Test(name, topic, demand[0], cites, needs, body, fresh)
        return body

    return register


def all_tests() -> tuple[Test, ...]:
    """Every test, in the order in which they run."""
    from passthru.vfio.conform.topics import TOPICS

    for topic in TOPICS:
        import_module(f"passthru.vfio.conform.topics.{topic}")
    ours = (test for test in _tests.values() if test.topic in TOPICS)
    return tuple(sorted(ours, key=lambda test: (TOPICS.index(test.topic), test.fresh)))
