# SPDX-License-Identifier: GPL-2.0-or-later
"""``reboot``: another boot, the same devices, the same judgements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from passthru.check.finding import Verdict
from passthru.check.machine import Refused
from passthru.check.registry import check
from passthru.errors import DeadlineExceeded
from tests.unit.check.harness import Answer
from tests.unit.check.plugged import FakeMachine, PluggedGuest, complaint, judged

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.check.options import CheckOptions


def options(use: str, **table: object) -> CheckOptions:
    return check(use).Options.model_validate({"use": use, **table})


class Talking(PluggedGuest):
    """Has a dmesg, which forgets with each boot."""

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        if command == "dmesg":
            return Answer(f"[    0.0] Linux version 6.1, boot {self.boots}\n".encode())
        return await super().run(command, timeout)


DMESG = {"dmesg": options("dmesg", expect=("ttyS1 is a 16550A",))}


def find_ports(guest: PluggedGuest) -> None:
    guest.kernel_log.lines.append("0000:00:05.0: ttyS1 is a 16550A")


@pytest.mark.parametrize(("how", "verb"), [("guest", "rebooted"), ("reset", "was reset")])
async def test_a_reboot_judges_again_what_passed(how: str, verb: str) -> None:
    machine = FakeMachine(Talking(), rebooting=find_ports)
    finding = await judged("reboot", machine, checks=DMESG, passed=("dmesg",), how=how)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == f"the guest {verb} with mtty0 attached, then dmesg passed again"
    assert machine.asked == [f"reboot {how}"]


async def test_what_the_kernel_said_before_is_not_said_again() -> None:
    guest = Talking()
    find_ports(guest)  # in the first boot only
    finding = await judged("reboot", FakeMachine(guest), checks=DMESG, passed=("dmesg",))
    assert finding.verdict is Verdict.FAILED
    assert "dmesg: the kernel's log is not as expected: no message matches \"ttyS1" in finding.summary


async def test_what_did_not_pass_before_is_not_judged_again() -> None:
    finding = await judged("reboot", FakeMachine(Talking()), checks=DMESG, passed=())
    assert finding.verdict is Verdict.PASSED
    assert finding.summary == "the guest rebooted with mtty0 attached"


async def test_a_complaint_of_an_earlier_boot_does_not_count() -> None:
    guest = Talking()
    complaint(guest)
    finding = await judged("reboot", FakeMachine(guest, rebooting=find_ports), checks=DMESG, passed=("dmesg",))
    assert finding.verdict is Verdict.PASSED, finding


def same_boot(guest: PluggedGuest) -> None:
    guest.boots -= 1


def loses_the_device(guest: PluggedGuest) -> None:
    guest.there = False


def loses_the_driver(guest: PluggedGuest) -> None:
    guest.driver = None


def hangs(guest: PluggedGuest) -> None:
    raise DeadlineExceeded("the reset of its machine", 30.0)


def refuses(guest: PluggedGuest) -> None:
    raise Refused("QEMU refused the command system_reset: no")


@pytest.mark.parametrize(
    ("rebooting", "said"),
    [
        (same_boot, "the guest did not reboot: it answers with the boot id of before, boot-1"),
        (loses_the_device, "after the reboot, the guest sees no device at 0000:00:05.0"),
        (
            loses_the_driver,
            "after the reboot, the guest sees 0000:00:05.0 again, but no driver is bound to it (wanted: serial)",
        ),
        (hangs, "the guest did not reboot: 30.0 s went by without the reset of its machine"),
        (refuses, "the guest could not be rebooted: QEMU refused the command system_reset: no"),
        (complaint, "the guest's kernel complained: WARNING: CPU: 0 PID: 1 at drivers/pci/remove.c:1"),
    ],
)
async def test_what_goes_wrong(rebooting: Callable[[PluggedGuest], None], said: str) -> None:
    finding = await judged("reboot", FakeMachine(PluggedGuest(), rebooting=rebooting))
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, said)


async def test_the_first_bad_reboot_is_the_last() -> None:
    machine = FakeMachine(PluggedGuest())
    machine.rebooting = lambda guest: loses_the_device(guest) if guest.boots == 3 else None
    finding = await judged("reboot", machine, rounds=5)
    assert finding.summary.startswith("reboot 2 of 5: after the reboot, the guest sees no device")
    assert len(machine.asked) == 2


async def test_without_a_machine_it_is_skipped() -> None:
    finding = await judged("reboot", None, PluggedGuest())
    assert finding.verdict is Verdict.SKIPPED


async def test_a_device_that_was_not_there_before_fails() -> None:
    finding = await judged("reboot", FakeMachine(PluggedGuest(there=False)))
    assert finding.summary == "the guest saw no mtty0 at 0000:00:05.0 before it rebooted"


async def test_a_driver_that_nobody_binds_at_boot_need_not_be_there() -> None:
    machine = FakeMachine(PluggedGuest(), rebooting=loses_the_driver)
    assert (await judged("reboot", machine, driver="")).verdict is Verdict.PASSED


@pytest.mark.parametrize("table", [{"how": "kexec"}, {"rounds": 0}, {"patience": -1.0}])
def test_bad_options(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        options("reboot", **table)
