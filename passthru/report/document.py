# SPDX-License-Identifier: GPL-2.0-or-later
"""The outcome of a run as one document of JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from passthru.report.jsonl import plain

if TYPE_CHECKING:
    from passthru.run.outcome import Judgement, Outcome


def document(outcome: Outcome, *, skips_count: bool = False) -> str:
    """``{"run", "verdict", "exit_code", "used", "tests": [{"name", "topic", "verdict", "seconds", ...}]}``."""
    told = {
        "run": outcome.scenario,
        "verdict": outcome.verdict(skips_count=skips_count).value,
        "exit_code": int(outcome.exit_code(skips_count=skips_count)),
        "interrupted": outcome.interrupted,
        "used": dict(outcome.used),
        "tests": [_test(judgement) for judgement in outcome.judgements],
    }
    return json.dumps(plain(told), indent=2)


def _test(judgement: Judgement) -> dict[str, Any]:
    finding = judgement.finding
    return {
        "name": judgement.check,
        "topic": judgement.use,
        "verdict": finding.verdict.value,
        "seconds": round(judgement.seconds, 6),
        "summary": finding.summary,
        "details": list(finding.details),
        **{key: value for key, value in finding.facts.items() if key != "topic"},
    }
