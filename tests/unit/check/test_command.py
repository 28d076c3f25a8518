# SPDX-License-Identifier: GPL-2.0-or-later
"""The check command: status and output both count."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from passthru.check.command import Options
from passthru.check.finding import Verdict
from passthru.errors import DeadlineExceeded
from tests.unit.check.harness import Answer, TableGuest, judged


@pytest.mark.parametrize(
    ("table", "ended", "verdict"),
    [
        ({}, Answer(b"x\n"), Verdict.PASSED),
        ({}, Answer(b""), Verdict.FAILED),
        ({}, Answer(b" \n"), Verdict.FAILED),
        ({}, Answer(b"x\n", status=1), Verdict.FAILED),
        ({"status": 3}, Answer(b"x\n", status=3), Verdict.PASSED),
        ({"status": 3}, Answer(b"x\n"), Verdict.FAILED),
        ({"status": 3}, Answer(b"", status=3), Verdict.FAILED),
        ({"equals": ""}, Answer(b""), Verdict.PASSED),
        ({"equals": ""}, Answer(b"x"), Verdict.FAILED),
        ({"equals": ""}, Answer(b"", status=1), Verdict.FAILED),
        ({"equals": "a b"}, Answer(b"a b\n"), Verdict.PASSED),
        ({"equals": "a b"}, Answer(b"a  b\n"), Verdict.FAILED),
        ({"equals": "a\nb\n"}, Answer(b"a\nb\n"), Verdict.PASSED),
        ({"equals": "at {address}"}, Answer(b"at 0000:00:05.0\n"), Verdict.PASSED),
        ({"matches": "^b$"}, Answer(b"a\nb\nc\n"), Verdict.PASSED),
        ({"matches": "^b$"}, Answer(b"abc\n"), Verdict.FAILED),
        ({"matches": ".*"}, Answer(b""), Verdict.FAILED),
        ({"matches": "b", "status": 1}, Answer(b"b"), Verdict.FAILED),
        ({"matches": "x"}, Answer(b"\xff\xfe", b"x"), Verdict.FAILED),
    ],
)
async def test_status_and_output_both_count(table: dict[str, Any], ended: Answer, verdict: Verdict) -> None:
    finding = await judged("command", {"command": "do", **table}, ended)
    assert finding.verdict is verdict, finding


async def test_the_address_is_filled_in() -> None:
    guest = TableGuest(Answer(b"x"))
    await judged("command", {"command": "ls /sys/{address}", "device": "d"}, guest)
    assert guest.ran == ["ls /sys/0000:00:05.0"]


async def test_a_failure_says_what_was_expected_and_what_came() -> None:
    finding = await judged("command", {"command": "do", "equals": "a"}, Answer(b"b\n", b"no a here\n", 2))
    assert finding.details == ("status 2 instead of 0", 'it printed "b" instead of "a"', 'its errors: "no a here"')


async def test_a_command_that_does_not_end_fails() -> None:
    finding = await judged("command", {"command": "do"}, DeadlineExceeded("do", 2.0))
    assert finding.verdict is Verdict.FAILED
    assert finding.summary == '"do" did not end within 2.0 s'


@pytest.mark.parametrize("table", [{"matches": "("}, {"matches": "a", "equals": "a"}, {"status": 256}, {"command": ""}])
def test_options_that_cannot_work_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "command", "command": "do", **table})
