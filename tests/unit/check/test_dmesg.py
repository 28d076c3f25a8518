# SPDX-License-Identifier: GPL-2.0-or-later
"""The check dmesg: expected messages, refused messages, complaints and known quirks."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from passthru.check.dmesg import Options
from passthru.check.finding import Verdict
from tests.unit.check.harness import DMESG, Answer, Complaint, Log, TableGuest, device, judged

Document = dict[str, Any]
RING = Answer(DMESG.encode())


async def test_the_documents_messages_pass(document: Document) -> None:
    finding = await judged("dmesg", document["dmesg"], RING)
    assert finding.verdict is Verdict.PASSED, finding


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0000:00:05.0: ttyS2", "0000:00:06.0: ttyS2"),
        ("ttyS2 at I/O", "ttyS2 at MMIO"),
        ("115200) is a 16550A\n[    1.102709]", "115200) is a 16450\n[    1.102709]"),
        ("(irq = 10", "(irq = none"),
    ],
)
async def test_each_part_of_a_message_counts(document: Document, old: str, new: str) -> None:
    assert old in DMESG
    finding = await judged("dmesg", document["dmesg"], Answer(DMESG.replace(old, new).encode()))
    assert finding.verdict is Verdict.FAILED
    assert "no message matches" in finding.summary


async def test_the_address_is_no_pattern() -> None:
    table = {"device": "d", "expect": ("^{address}: ttyS1",)}
    text = DMESG.replace("0000:00:05.0", "0000:00:05x0")
    assert (await judged("dmesg", table, RING)).verdict is Verdict.PASSED
    assert (await judged("dmesg", table, Answer(text.encode()))).verdict is Verdict.FAILED


async def test_messages_that_the_ring_buffer_forgot_count_from_the_console() -> None:
    guest = TableGuest(Answer(b"[    9.000000] the last one\n"), Log(lines=["Linux version 6.1.0"]))
    table = {"expect": ("^Linux version 6", "^the last one$")}
    assert (await judged("dmesg", table, guest)).verdict is Verdict.PASSED


async def test_a_refused_message_fails_and_is_shown() -> None:
    table = {"device": "d", "refuse": ("{address}: .*failed",)}
    assert (await judged("dmesg", table, RING)).verdict is Verdict.PASSED
    bad = Answer(DMESG.encode() + b"<3>[    2.000000][  T12] serial 0000:00:05.0: probe failed\n")
    finding = await judged("dmesg", table, bad)
    assert finding.verdict is Verdict.FAILED
    assert '"serial 0000:00:05.0: probe failed"' in finding.summary


async def test_a_complaint_fails() -> None:
    guest = TableGuest(RING, Log(splats=[Complaint("WARNING: CPU: 0 PID: 1 at kernel/irq.c:1")]))
    finding = await judged("dmesg", {}, guest)
    assert finding.verdict is Verdict.FAILED
    assert "the guest's kernel complained: WARNING: CPU: 0 PID: 1 at kernel/irq.c:1" in finding.summary


async def test_a_known_quirk_is_told_and_does_not_fail() -> None:
    guest = TableGuest(RING, Log(quirks=[Complaint("irq 10: nobody cared")]))
    finding = await judged("dmesg", {}, guest)
    assert finding.verdict is Verdict.PASSED
    assert finding.details == ("a known quirk of the guest's kernel: irq 10: nobody cared",)
    assert finding.facts["quirks"] == ["irq 10: nobody cared"]


async def test_an_empty_ring_buffer_fails() -> None:
    finding = await judged("dmesg", {}, Answer())
    assert finding.verdict is Verdict.FAILED
    assert "dmesg printed nothing" in finding.summary


async def test_dmesg_that_ends_badly_fails() -> None:
    finding = await judged("dmesg", {}, Answer(DMESG.encode(), b"dmesg: klogctl: Operation not permitted\n", 1))
    assert finding.verdict is Verdict.FAILED
    assert "status 1" in finding.summary


async def test_the_expected_messages_follow_the_devices_options(document: Document) -> None:
    one = Answer("".join(DMESG.splitlines(keepends=True)[:3]).encode())
    assert (await judged("dmesg", document["dmesg"], one, device(ports=1))).verdict is Verdict.PASSED
    assert (await judged("dmesg", document["dmesg"], one, device(ports=2))).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "table", [{"expect": ("(",)}, {"expect": ("a",), "variant": ({"when": {"x": 1}, "omit": ("b",)},)}]
)
def test_patterns_that_cannot_work_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "dmesg", **table})
