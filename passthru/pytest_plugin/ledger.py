# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests of one pytest session: which there are, and which of them the running test uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from passthru.events import tell_nobody
from passthru.image.store import Store
from passthru.pytest_plugin import options
from passthru.pytest_plugin.hooks import LEDGER
from passthru.pytest_plugin.in_code import request_for, scenario
from passthru.run.runner import Planner, load

if TYPE_CHECKING:
    import pytest

    from passthru.pytest_plugin.machine import Machine
    from passthru.pytest_plugin.record import Record
    from passthru.run.plan import Plan


class Ledger:
    """Made when the first fixture or marker of ours is used."""

    def __init__(self, config: pytest.Config) -> None:
        self.options = options.read(config)
        self.store = Store()
        self.planner = Planner(self.store)
        self.lacks: dict[str, str] = {}
        """What ``needs`` found out about this machine: what is missing, or nothing."""
        self.item: pytest.Item | None = None
        """The running test."""
        self.touched: dict[Record, Machine | None] = {}
        """What the running test uses; no machine as long as it boots, or where it could not."""

    def begin(self, item: pytest.Item) -> None:
        """Another test begins."""
        self.item = item
        self.touched.clear()

    def touch(self, record: Record, machine: Machine | None = None) -> None:
        """The running test uses this guest."""
        if record not in self.touched and self.item is not None:
            record.count_before = record.count
            self.item.user_properties.append(("passthru_run_directory", str(record.directory)))
        self.touched[record] = machine or self.touched.get(record)

    def machines(self) -> list[Machine]:
        """The guests that the running test uses, as far as they came up."""
        return [machine for machine in self.touched.values() if machine is not None]

    def default_plan(self) -> Plan:
        """What a guest would run on for which nothing is said but pytest's options; blocks. Raises Unusable."""
        return self.planner.plan_with_guest(request_for(scenario(), self.options.overrides), tell_nobody)

    @property
    def load(self) -> float:
        """By how much deadlines are stretched, as this machine has other things to do: pytest-xdist's workers, say."""
        return load(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def ledger_of(config: pytest.Config) -> Ledger:
    """The ledger of this session."""
    if LEDGER not in config.stash:
        config.stash[LEDGER] = Ledger(config)
    return config.stash[LEDGER]
