# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that are run again from within ``hotplug`` and ``reboot``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.check.again import strangers
from passthru.check.finding import Verdict
from passthru.check.registry import check
from passthru.errors import DeadlineExceeded, GuestTrouble, UserMistake
from tests.unit.check.harness import Answer
from tests.unit.check.plugged import FakeMachine, PluggedGuest, judged

if TYPE_CHECKING:
    from passthru.check.options import CheckOptions


class Commanded(PluggedGuest):
    """Answers the commands of the checks that are run again, or raises."""

    answers: dict[str, Answer | Exception]

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        answer = self.answers.get(command)
        if isinstance(answer, Exception):
            raise answer
        return answer or await super().run(command, timeout)


def commanded(answer: Answer | Exception) -> FakeMachine:
    guest = Commanded()
    guest.answers = {"traffic": answer, "ok": Answer(b"fine\n")}
    return FakeMachine(guest)


def options(use: str, **table: object) -> CheckOptions:
    return check(use).Options.model_validate({"use": use, **table})


CHECKS = {"ok": options("command", command="ok"), "traffic": options("command", command="traffic", matches="all came")}


async def test_checks_run_each_time_the_device_is_back() -> None:
    finding = await judged("hotplug", commanded(Answer(b"all came\n")), checks=CHECKS, then=("ok", "traffic"), rounds=2)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary.endswith("2 times (ttyS1, ttyS2), then ok and traffic passed")
    rounds = finding.facts["rounds"]
    assert isinstance(rounds, list)
    assert [each["then"] for each in rounds] == [{"ok": "passed", "traffic": "passed"}] * 2


async def test_a_check_that_fails_then_fails_the_round() -> None:
    finding = await judged("hotplug", commanded(Answer(b"none\n")), checks=CHECKS, then=("traffic", "ok"), rounds=2)
    assert finding.verdict is Verdict.FAILED
    assert finding.summary.startswith('round 1 of 2: traffic: "traffic": nothing matches "all came"')


async def test_a_check_that_does_not_end_fails_the_round() -> None:
    never = commanded(DeadlineExceeded("the traffic", 3.0))
    finding = await judged("hotplug", never, checks=CHECKS, then=("traffic",))
    assert finding.verdict is Verdict.FAILED
    assert "did not end within 3.0 s" in finding.summary


async def test_where_every_check_is_skipped_so_is_the_whole() -> None:
    checks = {"again": options("setserial", device="mtty0", expect="/dev/ttyS1, UART: 16550A, Port: 0xc150, IRQ: 10")}
    guest = Commanded()
    guest.answers = {}

    class Toolless(Commanded):
        async def run(self, command: str, timeout: float = 30.0) -> Answer:
            if "setserial" in command:
                return Answer(stderr=b"setserial: not found", status=127)
            return await super().run(command, timeout)

    toolless = Toolless()
    toolless.answers = {}
    finding = await judged("hotplug", FakeMachine(toolless), checks=checks, then=("again",), rounds=2)
    assert finding.verdict is Verdict.SKIPPED
    assert "setserial" in finding.summary


async def test_trouble_of_the_guest_passes_through() -> None:
    with pytest.raises(GuestTrouble):
        await judged("hotplug", commanded(GuestTrouble("qemu", "gone")), checks=CHECKS, then=("traffic",))


async def test_a_check_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(
        UserMistake, match='then names "traffic", which is no check of what is run here; there are: none'
    ):
        await judged("hotplug", commanded(Answer(b"all came\n")), then=("traffic",))


def test_strangers_in_then_are_told() -> None:
    checks = {
        **CHECKS,
        "hotplug": options("hotplug", device="mtty0", then=("trafic", "reboot")),
        "reboot": options("reboot", then=("ok",)),
    }
    assert list(strangers(checks, checks)) == [
        ("hotplug", '"trafic" is no check of this scenario; there are: hotplug, ok, reboot, traffic'),
        ("hotplug", '"reboot" is a reboot itself; name checks that only look'),
    ]
    assert list(strangers(CHECKS, CHECKS)) == []
