# SPDX-License-Identifier: GPL-2.0-or-later
"""The rounds of ``hotplug``, and everything that can go wrong in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from passthru.check.finding import Verdict
from passthru.check.machine import Refused
from passthru.check.registry import check
from passthru.errors import DeadlineExceeded, GuestTrouble, MissingCapability
from tests.unit.check.plugged import FakeMachine, PluggedGuest, complaint, judged

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_ten_rounds_pass_and_are_told() -> None:
    machine = FakeMachine(PluggedGuest())
    finding = await judged("hotplug", machine)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == "the guest let mtty0 go and took it back 10 times (ttyS1, ttyS2)"
    assert machine.asked == ["remove mtty0", "add mtty0"] * 10
    rounds = finding.facts["rounds"]
    assert isinstance(rounds, list)
    assert len(rounds) == 10
    assert rounds[0]["seen"]["parts"] == ["tty ttyS1", "tty ttyS2"]
    assert set(rounds[0]["seconds"]) == {"removed", "added", "bound"}


async def test_without_a_machine_it_is_skipped_and_asks_nothing() -> None:
    guest = PluggedGuest()
    finding = await judged("hotplug", None, guest)
    assert finding.verdict is Verdict.SKIPPED
    assert finding.facts == {"capability": "a hand on the guest's machine"}
    assert guest.looks == 0


async def test_a_slot_without_hot_plug_is_skipped() -> None:
    finding = await judged("hotplug", FakeMachine(PluggedGuest(), removing=no_hotplug))
    assert finding.verdict is Verdict.SKIPPED
    assert finding.facts == {"capability": "a hot-plug slot"}


def no_hotplug(guest: PluggedGuest) -> None:
    raise MissingCapability("a hot-plug slot", "Bus 'pcie.0' does not support hotplugging")


def never_goes(guest: PluggedGuest) -> None:
    guest.kernel_log.lines.append("serial 0000:00:05.0: busy")
    raise DeadlineExceeded("the guest to let mtty0 go", 5.0)


def refused(guest: PluggedGuest) -> None:
    raise Refused("QEMU refused the command: no")


def stays_out(guest: PluggedGuest) -> None:
    guest.there = False


def comes_unbound(guest: PluggedGuest) -> None:
    guest.driver = None


def comes_with_another_driver(guest: PluggedGuest) -> None:
    guest.driver = "vfio-pci"


def comes_as_another(guest: PluggedGuest) -> None:
    guest.identity = "0xffff:0xffff class 0xffffff"


def comes_with_one_port(guest: PluggedGuest) -> None:
    guest.ttys = ("ttyS1",)


def stays_behind(guest: PluggedGuest) -> None:
    guest.left = ("/sys/class/tty/ttyS1", "/proc/ioports:  c050-c057 : 0000:00:05.0")


def grumbles(guest: PluggedGuest) -> None:
    guest.kernel_log.lines.append("pci 0000:00:05.0: BAR 0: failed to assign [io  size 0x0008]")


@pytest.mark.parametrize(
    ("removing", "said"),
    [
        (never_goes, "round 1 of 3: the guest did not let mtty0 go in 5.0 s"),
        (refused, "round 1 of 3: mtty0 cannot be taken out: QEMU refused the command: no"),
        (
            stays_behind,
            "round 1 of 3: mtty0 is out, and the guest still has /sys/class/tty/ttyS1;"
            " /proc/ioports: c050-c057 : 0000:00:05.0",
        ),
        (complaint, "round 1 of 3: the guest's kernel complained: WARNING: CPU: 0 PID: 1 at drivers/pci/remove.c:1"),
        (
            grumbles,
            'round 1 of 3: the guest\'s kernel said "pci 0000:00:05.0: BAR 0: failed to assign [io  size 0x0008]"',
        ),
    ],
)
async def test_what_goes_wrong_when_it_is_taken_out(removing: Callable[[PluggedGuest], None], said: str) -> None:
    finding = await judged("hotplug", FakeMachine(PluggedGuest(), removing=removing), rounds=3)
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, said)


async def test_a_guest_that_does_not_let_go_is_shown_with_its_words() -> None:
    finding = await judged("hotplug", FakeMachine(PluggedGuest(), removing=never_goes))
    assert "the guest's kernel said meanwhile: serial 0000:00:05.0: busy" in finding.details
    assert "mtty0 is out of the guest since" not in finding.details


@pytest.mark.parametrize(
    ("adding", "said"),
    [
        (refused, "mtty0 cannot be put back: QEMU refused the command: no"),
        (stays_out, "the guest sees no device at 0000:00:05.0"),
        (comes_unbound, "the guest sees 0000:00:05.0 again, but no driver is bound to it (wanted: serial)"),
        (comes_with_another_driver, "the guest sees 0000:00:05.0 again, but its driver is vfio-pci (wanted: serial)"),
        (
            comes_as_another,
            "the guest sees another device at 0000:00:05.0: 0xffff:0xffff class 0xffffff,"
            " before: 0x4348:0x3253 class 0x070002",
        ),
        (comes_with_one_port, "the driver serial made 1 tty of 0000:00:05.0, before: ttyS1, ttyS2"),
    ],
)
async def test_what_goes_wrong_when_it_is_put_back(adding: Callable[[PluggedGuest], None], said: str) -> None:
    finding = await judged("hotplug", FakeMachine(PluggedGuest(), adding=adding), rounds=2)
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, f"round 1 of 2: {said}")
    assert ("mtty0 is out of the guest since" in finding.details) is (adding is refused)


async def test_a_driver_that_takes_its_time_is_waited_for() -> None:
    def bind_at_the_fourth_look(guest: PluggedGuest) -> None:
        guest.driver = "serial" if guest.looks >= 6 else guest.driver

    guest = PluggedGuest(looked=bind_at_the_fourth_look)
    finding = await judged("hotplug", FakeMachine(guest, adding=comes_unbound), rounds=1, patience=10)
    assert finding.verdict is Verdict.PASSED, finding
    assert guest.looks == 6


async def test_the_first_bad_round_is_the_last() -> None:
    machine = FakeMachine(PluggedGuest())
    machine.adding = lambda guest: comes_unbound(guest) if len(machine.asked) == 6 else None
    finding = await judged("hotplug", machine)
    assert finding.summary.startswith("round 3 of 10: ")
    assert len(machine.asked) == 6
    rounds = finding.facts["rounds"]
    assert isinstance(rounds, list)
    assert len(rounds) == 3


async def test_a_known_message_can_be_tolerated() -> None:
    machine = FakeMachine(PluggedGuest(), removing=grumbles)
    finding = await judged("hotplug", machine, rounds=1, tolerate=("failed to assign",))
    assert finding.verdict is Verdict.PASSED


async def test_messages_about_other_devices_do_not_count() -> None:
    def other(guest: PluggedGuest) -> None:
        guest.kernel_log.lines.append("pci 0000:00:06.0: BAR 0: failed to assign")

    assert (await judged("hotplug", FakeMachine(PluggedGuest(), removing=other), rounds=1)).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("guest", "said"),
    [
        (PluggedGuest(there=False), "the guest sees no device at 0000:00:05.0, so none can be taken out"),
        (
            PluggedGuest(driver=None),
            "mtty0 was not taken out: the guest sees it at 0000:00:05.0, but no driver is bound to it"
            " (one is expected)",
        ),
    ],
)
async def test_what_is_not_whole_before_is_not_taken_out(guest: PluggedGuest, said: str) -> None:
    machine = FakeMachine(guest)
    finding = await judged("hotplug", machine)
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, said)
    assert machine.asked == []


async def test_a_named_driver_must_be_there_before_and_after() -> None:
    finding = await judged("hotplug", FakeMachine(PluggedGuest()), driver="8250")
    assert "but its driver is serial (wanted: 8250)" in finding.summary
    assert (await judged("hotplug", FakeMachine(PluggedGuest()), driver="serial")).verdict is Verdict.PASSED


async def test_a_device_may_need_no_driver() -> None:
    machine = FakeMachine(PluggedGuest(driver=None))
    assert (await judged("hotplug", machine, driver="", rounds=1)).verdict is Verdict.PASSED


async def test_the_death_of_something_passes_through() -> None:
    def dies(guest: PluggedGuest) -> None:
        raise GuestTrouble("device", "the device server mtty0 was killed by SIGKILL")

    with pytest.raises(GuestTrouble, match="was killed by SIGKILL"):
        await judged("hotplug", FakeMachine(PluggedGuest(), adding=dies))


@pytest.mark.parametrize("table", [{"rounds": 0}, {"patience": 0.0}, {"tolerate": ("(",)}, {"how": "guest"}])
def test_bad_options(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        check("hotplug").Options.model_validate({"use": "hotplug", "device": "mtty0", **table})
