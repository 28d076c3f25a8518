# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of the suite as a list: each says what it demands and by which document, and needs what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.vfio.conform import registry
from passthru.vfio.conform.capabilities import MISSING
from passthru.vfio.conform.known_defects import KNOWN_DEFECTS, KnownDefect, disables_safely, known_defect
from passthru.vfio.conform.registry import all_tests
from passthru.vfio.conform.topics import TOPICS
from tests.unit.vfio.conform.made_device import made_facts

if TYPE_CHECKING:
    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.conform.registry import Test

ALL = all_tests()
OLD_MTTY = made_facts(driver="mtty", kernel="6.1.0-56-amd64")
NEW_MTTY = made_facts(driver="mtty", kernel="7.2.12-passthru")


@pytest.mark.parametrize("test", ALL, ids=lambda test: test.name)
def test_each_is_a_sentence_with_a_citation(test: Test) -> None:
    assert test.demand.endswith(".") and test.demand[0].isupper()
    assert test.cites
    assert set(test.needs) <= MISSING.keys()


def test_they_run_in_the_order_of_their_topics() -> None:
    topics = [test.topic for test in ALL]
    assert topics == sorted(topics, key=TOPICS.index)
    assert set(topics) == set(TOPICS)


def test_within_a_topic_those_that_open_come_last() -> None:
    for topic in TOPICS:
        fresh = [test.fresh for test in ALL if test.topic == topic]
        assert fresh == sorted(fresh)


@pytest.mark.parametrize("known", KNOWN_DEFECTS, ids=lambda known: known.driver)
def test_known_defects_concern_tests_that_there_are(known: KnownDefect) -> None:
    for pattern in known.tests:
        assert any(test.matches(pattern) for test in ALL), pattern


def test_old_mtty_is_not_made_to_disable() -> None:
    (signalling,) = (test for test in ALL if test.name == "data-none-signals-the-eventfd")
    assert "crashes the kernel" in known_defect(signalling, OLD_MTTY)
    assert not known_defect(signalling, NEW_MTTY)
    assert not known_defect(signalling, made_facts(driver="vfio-pci", kernel="6.1.0"))
    assert not known_defect(signalling, made_facts(driver="mtty", kernel="6.1.0", transport="vfio-user"))
    assert (disables_safely(OLD_MTTY), disables_safely(NEW_MTTY)) == (False, True)


@pytest.mark.parametrize("facts", [OLD_MTTY, NEW_MTTY])
def test_mtty_is_never_read_past_its_end(facts: Facts) -> None:
    for test in ALL:
        if "past-the-end" in test.name:
            assert known_defect(test, facts)


def test_every_test_of_interrupts_that_signals_spares_old_mtty() -> None:
    """Whatever enables an index disables it in the end, which is what old mtty does not survive."""
    for test in ALL:
        if test.topic == "irqs" and test.name not in ("bad-indexes-are-refused",):
            assert known_defect(test, OLD_MTTY), test.name


def test_two_tests_of_one_name_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tests", {})

    @registry.test(cites="nothing")
    def twice(case: object) -> None:
        """It is there."""

    with pytest.raises(ValueError, match="two tests are called twice"):
        registry.test(cites="nothing")(twice)


def test_a_test_without_a_demand_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tests", {})
    with pytest.raises(ValueError, match="does not say what it demands"):
        registry.test(cites="nothing")(lambda case: None)
