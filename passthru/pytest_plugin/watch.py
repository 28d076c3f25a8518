# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to the guests of a test beside its assertions: splats, deaths, and guests that are dead already."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from passthru.errors import PassthruError
from passthru.pytest_plugin import needs

if TYPE_CHECKING:
    from passthru.pytest_plugin.ledger import Ledger
    from passthru.pytest_plugin.machine import Machine

ALLOW = "passthru_allow_trouble"


def before_setup(item: pytest.Item, ledger: Ledger) -> None:
    """Skip for what this machine lacks."""
    needs.require_here(item, ledger)


def after_setup(item: pytest.Item, ledger: Ledger) -> None:
    """Its fixtures are there: an error where a guest among them is dead; skip for what the guests lack."""
    from passthru.pytest_plugin.machine import Machine

    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Machine):
            value.touch()
    machines = ledger.machines()
    for machine in machines:
        _demand_alive(machine)
    plans = [machine.plan for machine in machines]
    if not plans and needs.asks_of_plan(item) and "boot" not in getattr(item, "fixturenames", ()):
        plans = [ledger.default_plan()]
    for plan in plans:
        needs.require_of_plan(item, plan, ledger.options.no_skip)


def after_failure(item: pytest.Item, ledger: Ledger) -> None:
    """It failed by itself: let its guests finish what they say, and count it as said in this test."""
    for machine in ledger.machines():
        with contextlib.suppress(PassthruError):
            _settle(machine, item)
        machine.told = len(machine.splats)
        _note_death(machine, item)


def after_success(item: pytest.Item, ledger: Ledger) -> None:
    """It passed: fail it by what went wrong in its guests."""
    for machine in ledger.machines():
        try:
            _settle(machine, item)
        except PassthruError as error:
            if machine.trouble is None:
                pytest.fail(f"the guest {machine.record.name} does not answer after the test: {error}", pytrace=False)
    _judge(item, ledger)


def after_teardown(item: pytest.Item, ledger: Ledger) -> None:
    """Its own fixtures have ended, and may have spoken to shared guests."""
    for machine in ledger.machines():
        if machine.open and machine.record.count != machine.settled_at:
            with contextlib.suppress(PassthruError):
                _settle(machine, item)
    _judge(item, ledger)


def _settle(machine: Machine, item: pytest.Item) -> None:
    if machine.open and not machine.loop.is_closed():
        machine.loop.run_until_complete(machine.settle(f"end of {item.name}"))
        machine.settled_at = machine.record.count


def _judge(item: pytest.Item, ledger: Ledger) -> None:
    wrong = []
    for machine in ledger.machines():
        fresh, machine.told = machine.splats[machine.told :], len(machine.splats)
        for splat in fresh:
            if not splat.fatal and not _allowed(item, "\n".join(splat.lines)):
                lines = "".join(f"\n    | {line}" for line in splat.lines)
                wrong.append(f"the kernel of the guest {machine.record.name} complained: {splat.title}{lines}")
        died_now = not machine.record.died_in
        _note_death(machine, item)
        if died_now and machine.trouble is not None and not _allowed(item, str(machine.trouble)):
            wrong.append(f"the guest {machine.record.name} was lost: {machine.trouble}")
    if wrong:
        pytest.fail("\n".join((*wrong, f"(expected? mark the test with @pytest.mark.{ALLOW})")), pytrace=False)


def _demand_alive(machine: Machine) -> None:
    if machine.trouble is not None:
        when = f" in {machine.record.died_in}" if machine.record.died_in else ""
        pytest.fail(
            f"the guest {machine.record.name}, which tests share, was lost{when}: {machine.trouble}", pytrace=False
        )


def _note_death(machine: Machine, item: pytest.Item) -> None:
    if machine.trouble is not None and not machine.record.died_in:
        machine.record.died_in = item.nodeid


def _allowed(item: pytest.Item, text: str) -> bool:
    return any(
        not marker.args or any(re.search(pattern, text) for pattern in marker.args)
        for marker in item.iter_markers(ALLOW)
    )
