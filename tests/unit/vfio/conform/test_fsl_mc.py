# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of DPAA2 containers: each finds the defect that it is there for, and nothing in a container without one."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, get_args

import pytest

from passthru.vfio.conform.bench import Bench
from passthru.vfio.conform.registry import all_tests
from passthru.vfio.conform.report import Report
from passthru.vfio.conform.runner import Runner
from passthru.vfio.conform.settling import steps_before, steps_for
from passthru.vfio.stubs.catalogue import stub_for
from passthru.vfio.stubs.dprc import Dprc
from tests.unit.vfio.conform.made_container import Defect, MadeContainer, as_target, container_facts
from tests.unit.vfio.conform.made_device import verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.device import VfioDevice
    from passthru.vfio.stubs.stub import Stub

SYSFS = "the-objects-are-those-of-sysfs"
TESTS = [test for test in all_tests() if test.topic == "fsl_mc" and test.name != SYSFS]
"""What looks into sysfs is judged in rigs."""
FOUND_BY: dict[Defect, set[str]] = {
    "none": set(),
    "short-reads": {"a-portal-takes-whole-commands-alone"},
    "short-writes": {"a-portal-takes-whole-commands-alone"},
    "portal-maps": {"device-info-names-a-container"},
    "unknown-is-ok": {"a-command-that-nobody-knows-is-answered-so"},
    "session-lives": {"a-session-ends", "a-reset-quiets-the-objects"},
    "host-is-open": {"another-container-cannot-be-reached"},
    "contents-change": {"the-container-cannot-be-changed"},
    "a-region-too-few": {"each-object-is-a-device"},
    "small-regions-map": {"regions-of-whole-pages-map"},
    "maskable": {"interrupts-of-objects-are-messages"},
    "no-loopback": {"objects-signal-by-loopback"},
    "message-is-lost": {"a-message-signals"},
    "disabled-is-sent": {"a-message-signals"},
    "taken-away-is-signalled": {"a-message-signals"},
    "reset-does-nothing": {"a-reset-quiets-the-objects"},
}


@pytest.fixture
def container(request: pytest.FixtureRequest) -> Iterator[MadeContainer]:
    """A container with the defect that the test names."""
    made = MadeContainer(request.param)
    yield made
    made.end()


def judged(container: MadeContainer) -> dict[str, tuple[str, str]]:
    """The verdicts of the topic's tests."""

    def stub_of(device: VfioDevice) -> Stub | None:
        return Dprc(device, container_facts().identity)

    mine, its = socket.socketpair()
    with mine, its:
        bench = Bench(as_target(container), stub_of)
        bench.settling, bench.preparing = steps_for(container_facts()), steps_before(container_facts())
        Runner(bench, container_facts(), Report(its.fileno()), seed=1, limit=20).run(TESTS)
        its.shutdown(socket.SHUT_WR)
        with mine.makefile() as lines:
            return verdicts([json.loads(line) for line in lines])


@pytest.mark.parametrize(
    ("container", "defect"), [(each, each) for each in get_args(Defect)], indirect=["container"], ids=get_args(Defect)
)
def test_a_defect_is_found(container: MadeContainer, defect: Defect) -> None:
    found = judged(container)
    assert {name for name, (verdict, _) in found.items() if verdict == "failed"} == FOUND_BY[defect], found
    skipped = {name for name, (verdict, _) in found.items() if verdict == "skipped"}
    assert skipped == {"an-index-that-nobody-enabled-is-disabled"}
    assert "error" not in {verdict for verdict, _ in found.values()}, found


@pytest.mark.parametrize("container", ["none"], indirect=True)
def test_the_stub_finds_the_engine(container: MadeContainer) -> None:
    assert stub_for(container_facts().identity) is Dprc
    stub = Dprc(as_target(container).open().device, container_facts().identity)
    with pytest.raises(OSError, match=r"dpio\.0"):
        stub.prepare()  # nobody opened it for that
    stub.neighbour = container.neighbour
    stub.prepare()
    assert stub.largest_copy
