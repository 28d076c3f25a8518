# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance suite of VFIO devices, as a check asks for it: on the host, where no guest has the device.

Who runs the checks gives it, or does not: then a check that needs it is skipped, naming that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.check.finding import Finding
    from passthru.deadline import Deadline

TESTS = "tests"
"""The fact of a finding with all tests, in their order: name, topic, verdict, summary, details, seconds."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of the suite."""

    only: tuple[str, ...] = ()
    """Patterns of names and topics; none: all."""
    dangerous: bool = False
    """Also what is known to crash the host's kernel."""
    stub: str = ""
    """FILE.py[:CLASS] of this machine, brought to the host; empty: the one that passthru has for the device."""
    test_limit: float = 60.0
    """Seconds that a test may take, before scaling."""


@dataclass(frozen=True)
class SuiteTest:
    """One test, judged: its name and topic, what it found, and how long it took in seconds."""

    name: str
    topic: str
    finding: Finding
    seconds: float


@dataclass(frozen=True)
class Report:
    """What came of the suite on a device.

    ``title`` says in words what the device is and the way to it, ``facts`` what is known of it (capabilities, kernel,
    driver); both are empty where it could not be opened. ``broken_off`` is why the rest was not judged; empty where all
    was.
    """

    title: str
    tests: tuple[SuiteTest, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    broken_off: str = ""


class Suite(Protocol):
    """The suite, on the host of a run."""

    async def judge(self, device: str, wanted: Wanted, deadline: Deadline) -> Report:
        """Judge a device of the scenario, by its id.

        Raises UserMistake and Unusable where the suite cannot begin; GuestTrouble where the host broke outside of a
        test; WorkerLost.
        """
