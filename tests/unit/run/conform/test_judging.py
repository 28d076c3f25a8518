# SPDX-License-Identifier: GPL-2.0-or-later
"""A device judged by the suite, and everything that can die or hang on the way, each in a test with a name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from passthru.check.finding import Verdict
from passthru.errors import GuestTrouble, Unusable, UserMistake
from passthru.guest.kernel_log import KernelLog
from passthru.run.conform import go
from passthru.run.conform.go import SuiteOptions
from passthru.run.events import CheckStarted, SuiteStarted
from tests.unit.run.conform.conftest import KERNEL

if TYPE_CHECKING:
    from tests.unit.run.conform.conftest import Bench

PASSED, FAILED, SKIPPED, ERROR = Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED, Verdict.ERROR
WARNING = b"""\
[   12.0] ------------[ cut here ]------------
[   12.0] WARNING: CPU: 0 PID: 1 at drivers/vfio/group.c:1 vfio_made_up+0x1/0x2
[   12.0] Call Trace:
[   12.0] ---[ end trace 0000000000000000 ]---
"""


async def test_each_test_of_the_suite_is_a_judgement(bench: Bench) -> None:
    await bench.judge({"tests": {"a": "passed", "b": "failed", "c": "skipped", "d": "error"}})
    assert bench.verdicts == {"a": PASSED, "b": FAILED, "c": SKIPPED, "d": ERROR}
    first, second, *_ = bench.judgements
    assert (first.use, first.seconds, first.finding.summary) == ("info", 0.25, "a holds")  # what it demands
    assert first.finding.facts == {"topic": "info", "demand": "a holds", "cites": "a call"}
    assert second.finding.summary == "b is failed"
    started = [event.check for event in bench.told if isinstance(event, CheckStarted)]
    assert started == ["a", "b", "d"]
    (suite,) = [event for event in bench.told if isinstance(event, SuiteStarted)]
    assert (suite.device, suite.title, suite.tests) == ("device", "a device by a way", ("a", "b", "c", "d"))
    assert suite.facts["capabilities"] == ["irq"]


async def test_the_suite_is_told_what_the_user_asks(bench: Bench) -> None:
    bench.options = SuiteOptions(("a", "irq*"), dangerous=True, stub="/s.py:Card", time_limit=2.5)
    await bench.judge({"tests": {"a": "passed"}})
    (words,) = bench.arguments
    said = " ".join(words)
    assert "--only a --only irq* --dangerous --stub /s.py:Card --time-limit 2.5 --test-limit 30" in said
    assert "--paced" not in words


async def test_a_kernels_device_begins_a_test_once_its_name_has_come_here(bench: Bench) -> None:
    bench.target = dict(KERNEL)
    await bench.judge({"tests": {"a": "passed", "b": "passed"}})
    assert bench.verdicts == {"a": PASSED, "b": PASSED}
    assert "--paced" in bench.arguments[0]


@pytest.mark.parametrize(("death", "verdict"), [("SIGBUS", FAILED), ("SIGSEGV", FAILED), ("SIGKILL", ERROR)])
async def test_a_suite_that_is_killed_names_the_test_and_goes_on_with_the_rest(
    bench: Bench, death: str, verdict: Verdict
) -> None:
    await bench.judge({"tests": {"a": "passed", "b": death, "c": "passed", "d": "passed"}})
    assert bench.verdicts == {"a": PASSED, "b": verdict, "c": PASSED, "d": PASSED}
    assert bench.summary("b") == f"the suite was killed by {death}, in this test"
    assert [word for word in bench.arguments[1] if word in "abcd"] == ["c", "d"]


async def test_a_suite_that_exits_in_a_test_could_not_judge_it(bench: Bench) -> None:
    await bench.judge({"tests": {"a": "exits", "b": "passed"}, "says": "MemoryError"})
    assert bench.verdicts == {"a": ERROR, "b": PASSED}
    assert bench.summary("a") == 'the suite exited with status 3; it last said: "MemoryError", in this test'


async def test_a_test_that_hangs_has_failed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go, "_EXIT_SECONDS", 0.3)
    bench.options = SuiteOptions(time_limit=0.02)
    await bench.judge({"tests": {"a": "hangs", "b": "passed"}})
    assert bench.verdicts == {"a": FAILED, "b": PASSED}
    assert bench.summary("a").startswith("the test hung: nothing came of it for")


async def test_a_server_of_ours_that_ends_is_named_with_its_test_and_started_anew(bench: Bench) -> None:
    bench.server = (sys.executable, "-c", "print('out of ideas'); raise SystemExit(7)")
    await bench.judge({"tests": {"a": "passed", "b": "gone", "c": "passed"}})
    assert bench.verdicts == {"a": PASSED, "b": FAILED, "c": PASSED}
    assert bench.summary("b") == (
        'the device server exited with status 7; it last said: "out of ideas", in this test: b is failed'
    )
    assert len(bench.arguments) == 2


async def test_a_server_of_others_that_ends_leaves_the_rest_unjudged(bench: Bench) -> None:
    with pytest.raises(Unusable, match=r"^2 tests could not be judged: nobody listens any more$"):
        await bench.judge({"tests": {"a": "gone", "b": "passed", "c": "passed"}})
    assert bench.verdicts == {"a": FAILED}


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(2, UserMistake, "s.py: has no stub"), (125, Unusable, "the device cannot be opened: EBUSY"), (1, Unusable, "x")],
)
async def test_what_the_suite_says_before_it_begins_is_the_runs_error(
    bench: Bench, status: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await bench.judge({"tests": {}, "status": status, "says": said})
    assert bench.judgements == []


async def test_a_device_that_cannot_be_opened_again_leaves_the_rest_unjudged(bench: Bench) -> None:
    again = {"status": 125, "says": "the device cannot be opened: EBUSY"}
    with pytest.raises(Unusable, match=r"^1 test could not be judged: the device cannot be opened: EBUSY$"):
        await bench.judge({"tests": {"a": "SIGBUS", "b": "passed"}}, again)
    assert bench.verdicts == {"a": FAILED}


def dies(bench: Bench) -> None:
    """The host's kernel dies, after its last words."""
    bench.log.feed(WARNING)
    bench.troubles.declare(GuestTrouble("host-kernel", "the host's kernel died: Oops"))


async def test_a_kernel_that_dies_has_failed_the_test_by_name(bench: Bench) -> None:
    bench.target = dict(KERNEL)
    bench.when["b"] = lambda: dies(bench)
    with pytest.raises(Unusable, match=r"^1 test could not be judged: the host was lost in b$"):
        await bench.judge({"tests": {"a": "passed", "b": "hangs", "c": "passed"}})
    assert bench.verdicts == {"a": PASSED, "b": FAILED}
    assert bench.summary("b") == "the host's kernel died: Oops"


async def test_a_kernel_that_is_no_subject_and_dies_leaves_the_test_unjudged(bench: Bench) -> None:
    bench.target = dict(KERNEL)
    bench.when["a"] = lambda: dies(bench)
    await bench.judge({"tests": {"a": "hangs"}}, subject=("device",))
    assert bench.verdicts == {"a": ERROR}


@pytest.mark.parametrize("what", ["passed", "failed", "SIGBUS"])
async def test_what_the_hosts_kernel_complains_of_fails_the_test_in_which_it_did(bench: Bench, what: str) -> None:
    bench.target = dict(KERNEL)
    bench.when["b"] = lambda: bench.log.feed(WARNING)
    await bench.judge({"tests": {"a": "passed", "b": what, "c": "passed"}})
    assert bench.verdicts == {"a": PASSED, "b": FAILED, "c": PASSED}
    assert bench.summary("b").startswith("the host's kernel complained in this test: WARNING")
    details = bench.judgements[1].finding.details
    assert "| Call Trace:" in details
    assert (details[0] == "the kernel's words:") is (what == "passed")


async def test_a_complaint_that_has_only_begun_is_waited_for(bench: Bench) -> None:
    bench.target = dict(KERNEL)
    bench.when["a"] = lambda: bench.log.feed(WARNING[: WARNING.index(b"[   12.0] ---[ end")])
    await bench.judge({"tests": {"a": "passed"}})
    assert bench.verdicts == {"a": FAILED}


async def test_a_known_quirk_of_the_hosts_kernel_fails_nothing(bench: Bench) -> None:
    bench.target = dict(KERNEL)
    bench.log = KernelLog(quirks=["vfio_made_up"])
    bench.when["a"] = lambda: bench.log.feed(WARNING)
    await bench.judge({"tests": {"a": "passed"}})
    assert bench.verdicts == {"a": PASSED}
