# SPDX-License-Identifier: GPL-2.0-or-later
"""Which verdict comes of what a test does, and what is done with the device between tests."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from passthru.vfio.malformed import Malformed
from tests.unit.vfio.conform.made_device import MadeTarget, made_facts, made_test, run, verdicts

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case


def passing(case: Case) -> None:
    assert case.device


def failing(case: Case) -> None:
    case.fail("it did not")


def refusing(case: Case) -> None:
    raise OSError(errno.EIO, "the device is ill")


def contradicting(case: Case) -> None:
    raise Malformed("its answer is nonsense")


def losing(case: Case) -> None:
    raise ConnectionResetError("the server left")


def missing(case: Case) -> None:
    case.missing("there is none")


def mistaken(case: Case) -> None:
    raise KeyError("ours")


def hanging(case: Case) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        pass


def test_what_the_device_does_wrong_is_failed_and_our_mistakes_are_errors() -> None:
    bodies = (passing, failing, refusing, contradicting, losing, missing, mistaken)
    lines = run(*(made_test(body) for body in bodies))
    assert verdicts(lines) == {
        "passing": ("passed", ""),
        "failing": ("failed", "it did not"),
        "refusing": ("failed", "EIO: the device is ill"),
        "contradicting": ("failed", "its answer is nonsense"),
        "losing": ("failed", "the server left"),
        "missing": ("skipped", "there is none"),
        "mistaken": ("error", "KeyError: 'ours'"),
    }
    assert lines[-1]["event"] == "done"


def test_a_failure_tells_demand_citation_and_calls() -> None:
    def calling(case: Case) -> None:
        case.dma.map(0x1000, 0x1000, 0)
        with case.refused(errno.ENOTTY, what="the call"):
            case.device.set_irqs(0x21, 0)

    (ended,) = (line for line in run(made_test(calling)) if line["event"] == "ended")
    assert ended["summary"] == "the call was refused with EINVAL where ENOTTY is demanded"
    assert ended["details"][1:] == ["demanded: It is demanded.", "by: the document", "last calls:", "set_irqs 0x21"]


def test_a_mistake_tells_where_it_was() -> None:
    (ended,) = (line for line in run(made_test(mistaken)) if line["event"] == "ended")
    assert any("test_runner.py" in line for line in ended["details"])


def test_a_missing_capability_skips_with_its_sentence() -> None:
    lines = run(made_test(failing, "dma"), made_test(passing, "pci"), facts=made_facts(capabilities=frozenset({"pci"})))
    assert verdicts(lines) == {
        "failing": ("skipped", "the device reaches no memory of ours"),
        "passing": ("passed", ""),
    }
    assert [line["test"] for line in lines if line["event"] == "started"] == ["passing"]


def test_the_opening_is_shared_and_settled() -> None:
    target = MadeTarget()
    run(made_test(passing), made_test(missing), made_test(passing), target=target)
    assert target.log == ["open", *["set_irqs 0x21 0"] * 3, "close"]


def test_a_failure_opens_anew() -> None:
    target = MadeTarget()
    run(made_test(failing), made_test(passing), target=target)
    assert target.log == ["open", "close", "open", "set_irqs 0x21 0", "close"]


def test_a_fresh_test_has_the_device_for_itself() -> None:
    target = MadeTarget()

    def opening(case: Case) -> None:
        assert target.log.count("open") == target.log.count("close")
        case.open()

    run(made_test(passing), made_test(opening, fresh=True), made_test(passing), target=target)
    assert target.log.count("open") == target.log.count("close") == 3


def test_what_a_test_mapped_is_unmapped() -> None:
    target = MadeTarget()

    def mapping(case: Case) -> None:
        for iova in (0x1000, 0x2000):
            case.dma.map(iova, 0x1000, 0)
        case.dma.unmap(0x1000, 0x1000)

    run(made_test(mapping), target=target)
    assert [line for line in target.log if "map" in line] == [
        "map 0x1000",
        "map 0x2000",
        "unmap 0x1000",
        "unmap 0x2000",
    ]


def test_a_target_that_cannot_be_opened_again_ends_the_run() -> None:
    lines = run(made_test(passing), made_test(losing), made_test(passing), target=MadeTarget(openings=1))
    assert [line["event"] for line in lines] == ["started", "ended", "started", "ended", "gone"]
    assert lines[-1]["test"] == "losing"
    assert lines[-1]["summary"] == "the target cannot be opened any more: ECONNREFUSED: nobody listens"


def test_a_test_that_hangs_is_ended() -> None:
    began = time.monotonic()
    lines = run(made_test(hanging), made_test(passing), limit=0.2)
    assert verdicts(lines)["hanging"] == ("failed", "the test was not over after 0.2 s")
    assert verdicts(lines)["passing"][0] == "passed"
    assert time.monotonic() - began < 10


def test_the_random_numbers_are_those_of_the_seed() -> None:
    seen: list[int] = []

    def rolling(case: Case) -> None:
        seen.append(case.random.getrandbits(64))

    run(made_test(rolling), made_test(rolling))
    run(made_test(rolling))
    assert seen[0] == seen[1] == seen[2]
