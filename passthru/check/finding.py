# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check found: a verdict, one sentence, and what a person or a program needs to follow it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Verdict(StrEnum):
    """The verdict of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """A capability is missing; the summary names it."""
    ERROR = "error"
    """The harness could not judge."""


@dataclass(frozen=True)
class Finding:
    """The verdict of one check, and why.

    ``summary`` is one sentence, ``details`` are further sentences in the order of their weight (each mismatch of a
    failed check is one), ``facts`` is what was measured or tolerated, made of JSON values.
    """

    verdict: Verdict
    summary: str
    details: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


def judged(
    wrong: Iterable[str],
    *,
    passed: str,
    failed: str,
    told: Iterable[str] = (),
    facts: Mapping[str, object] | None = None,
) -> Finding:
    """A finding that fails by any sentence in ``wrong``; ``told`` are sentences that do not weigh on the verdict.

    The summary of a failure is ``failed`` and its first sentence: a report that shows only summaries says enough.
    """
    mismatches = tuple(wrong)
    if not mismatches:
        return Finding(Verdict.PASSED, passed, tuple(told), facts or {})
    more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
    return Finding(Verdict.FAILED, f"{failed}: {mismatches[0]}{more}", (*mismatches, *told), facts or {})
