# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check is given, and the registry of checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.check import registry
from passthru.check.context import Context
from passthru.check.options import CheckOptions
from passthru.deadline import Deadline
from passthru.errors import GuestTrouble
from tests.unit.check.harness import Answer, TableGuest, judged

if TYPE_CHECKING:
    from passthru.check.context import Guest
    from passthru.guest.guest import Guest as RealGuest


def a_guest_for_checks(guest: RealGuest) -> Guest:
    """Type-checked only: a real guest is what checks expect."""
    return guest


async def test_a_guest_is_given_less_than_what_is_left_and_unscaled() -> None:
    guest = TableGuest(Answer(b"x"))
    await Context(guest, deadline=Deadline.after(1000.0, scale=4.0)).run("true")
    assert 0 < guest.timeouts[0] <= 900.0


async def test_a_check_that_needs_a_device_and_got_none_is_a_mistake_of_the_runner() -> None:
    with pytest.raises(ValueError, match="needs a device"):
        _ = Context(TableGuest(Answer())).the_device


@pytest.mark.parametrize("name", registry.names())
def test_each_check_is_a_module_with_options_and_a_judgement(name: str) -> None:
    module = registry.check(name)
    assert issubclass(module.Options, CheckOptions)
    assert callable(module.judge)
    assert module.__doc__ is not None
    assert module.__doc__.startswith(f"``{name}``: ")


async def test_trouble_of_the_guest_is_not_judged_here() -> None:
    with pytest.raises(GuestTrouble, match="gone"):
        await judged("command", {"command": "x"}, GuestTrouble("qemu", "gone"))
