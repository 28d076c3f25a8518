# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite catches device servers that do one thing wrong, each by a test that says so in its name."""

from __future__ import annotations

import re
from functools import cache

import pytest

from passthru.emulation.models import catalogue
from tests.unit.vfio.conform.broken import KINDS, TIME_LIMIT, Broken
from tests.unit.vfio.conform.proxy import Line, listening
from tests.unit.vfio.conform.suite import Verdict, judge


@cache
def _by_the_honest(model: str) -> dict[str, Verdict]:
    """The verdicts of all these tests on a server that does nothing wrong, by way of the same go-between."""
    return _judged(model, Line, tuple(sorted({kind.caught_by for kind in KINDS if kind.model == model})), TIME_LIMIT)


def _judged(model: str, line: type[Line], only: tuple[str, ...], time_limit: float) -> dict[str, Verdict]:
    kind = catalogue()[model]
    device = kind(kind.Options())
    try:
        with listening(device, line) as path:
            return judge(path, only, time_limit=time_limit)
    finally:
        device.close()


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 30
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_caught(kind: Broken) -> None:
    honest = _by_the_honest(kind.model)[kind.caught_by]
    assert (honest.verdict, honest.details) == ("passed", ()), honest.summary
    found = _judged(kind.model, kind.line, (kind.caught_by,), kind.time_limit)[kind.caught_by]
    assert found.verdict == "failed", found
    assert re.search(kind.says, found.summary), found
    assert [line for line in found.details if line.startswith("by: ")], "the document is not named"
