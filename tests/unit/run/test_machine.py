# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand on a guest's machine: what it asks QEMU, what it waits for, and how refusals are told apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from passthru.check.machine import Refused
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble, MissingCapability
from passthru.guest.kernel_log import KernelLog
from passthru.guest.trouble import Troubles
from passthru.qemu.qmp import Qmp, QmpEvent, QmpRefused
from passthru.run.machine import QemuMachine, device_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from passthru.guest.guest import Guest

ARGV = (
    "qemu",
    "-device",
    '{"driver": "vfio-user-pci", "id": "mtty0", "addr": "05.0", "socket": {"type": "unix", "path": "/s"}}',
    "-device",
    "pvpanic",
    "-append",
    '{"id": "no device"}',
)


class PlayedQmp:
    """QEMU's monitor: ``answers`` are called for each command and may raise, or tell events."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.answers: dict[str, Callable[[], None]] = {}
        self.watchers: list[Callable[[QmpEvent], None]] = []

    def watch(self, callback: Callable[[QmpEvent], None]) -> Callable[[], None]:
        self.watchers.append(callback)
        return lambda: self.watchers.remove(callback)

    def tell(self, name: str, **data: object) -> None:
        for watcher in tuple(self.watchers):
            watcher(QmpEvent(name, data))

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, deadline: Deadline | None = None
    ) -> object:
        self.asked.append((command, arguments or {}))
        await asyncio.sleep(0)
        self.answers.get(command, lambda: None)()
        return {}

    def refuse(self, command: str, words: str) -> None:
        def refusal() -> None:
            raise QmpRefused(command, "GenericError", words)

        self.answers[command] = refusal


class PlayedGuest:
    """A guest that notes what it is told; ``rebooting`` is called when it is asked to reboot."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self.kernel_log = KernelLog()
        self.told: list[str] = []
        self.rebooting: Callable[[], None] = lambda: None

    async def reboot(self) -> None:
        self.told.append("reboot")
        self.rebooting()

    def restarted(self) -> None:
        self.told.append("restarted")

    async def ready(self, seconds: float) -> None:
        assert 0 < seconds <= 5
        self.told.append("ready")


class Play:
    """A machine, and who plays its QEMU and its guest."""

    def __init__(self) -> None:
        self.qmp, self.guest = PlayedQmp(), PlayedGuest()
        self.machine = QemuMachine(cast("Qmp", self.qmp), cast("Guest", self.guest), ARGV)
        self.deadline = Deadline.after(5)


@pytest.fixture
async def play() -> Play:
    return Play()


async def test_a_device_goes_when_qemu_has_deleted_it(play: Play) -> None:
    def answer() -> None:
        play.qmp.tell("DEVICE_DELETED", path="/machine/peripheral/mtty0/virtio-backend")
        play.qmp.tell("DEVICE_DELETED", device="another", path="/machine/peripheral/another")
        asyncio.get_running_loop().call_soon(
            lambda: play.qmp.tell("DEVICE_DELETED", device="mtty0", path="/machine/peripheral/mtty0")
        )

    play.qmp.answers["device_del"] = answer
    await play.machine.remove("mtty0", play.deadline)
    assert play.qmp.asked == [("device_del", {"id": "mtty0"})]
    assert play.qmp.watchers == []


async def test_events_before_the_answer_count(play: Play) -> None:
    play.qmp.answers["device_del"] = lambda: play.qmp.tell("DEVICE_DELETED", device="mtty0")
    await play.machine.remove("mtty0", play.deadline)


async def test_a_guest_that_does_not_let_go(play: Play) -> None:
    play.qmp.answers["device_del"] = lambda: play.qmp.tell("DEVICE_DELETED", device="another")
    with pytest.raises(DeadlineExceeded, match="for the guest to let mtty0 go, in vain"):
        await play.machine.remove("mtty0", Deadline.after(0.05))
    assert play.qmp.watchers == []


async def test_a_guest_that_refuses(play: Play) -> None:
    play.qmp.answers["device_del"] = lambda: play.qmp.tell("DEVICE_UNPLUG_GUEST_ERROR", device="mtty0")
    with pytest.raises(Refused, match="the guest refuses to let it go"):
        await play.machine.remove("mtty0", play.deadline)


async def test_a_bus_without_hot_plug_is_a_missing_capability(play: Play) -> None:
    play.qmp.refuse("device_del", "Bus 'pcie.0' does not support hotplugging")
    with pytest.raises(MissingCapability, match=r"Bus 'pcie\.0' does not support hotplugging") as missing:
        await play.machine.remove("mtty0", play.deadline)
    assert missing.value.capability == "a hot-plug slot"


async def test_it_is_added_as_it_was_started(play: Play) -> None:
    await play.machine.add("mtty0", play.deadline)
    assert play.qmp.asked == [("device_add", device_arguments(ARGV)["mtty0"])]
    assert play.qmp.asked[0][1]["socket"] == {"type": "unix", "path": "/s"}


async def test_qemus_own_words_are_told(play: Play) -> None:
    play.qmp.refuse("device_add", "Failed to connect to '/s': Connection refused")
    with pytest.raises(Refused, match="device_add: Failed to connect to '/s': Connection refused"):
        await play.machine.add("mtty0", play.deadline)


async def test_the_death_behind_a_refusal_is_the_better_reason(play: Play) -> None:
    def refusal() -> None:
        killed = GuestTrouble("device", "the device server mtty0 was killed by SIGKILL")
        asyncio.get_running_loop().call_soon(play.guest.troubles.declare, killed)
        raise QmpRefused("device_add", "GenericError", "Connection refused")

    play.qmp.answers["device_add"] = refusal
    with pytest.raises(GuestTrouble, match="was killed by SIGKILL"):
        await play.machine.add("mtty0", play.deadline)


async def test_a_qemu_that_does_not_answer(play: Play) -> None:
    def silent() -> None:
        raise DeadlineExceeded("the answer of QEMU to the QMP command device_add", 5.0)

    play.qmp.answers["device_add"] = silent
    with pytest.raises(Refused, match="the answer of QEMU to the QMP command device_add, in vain"):
        await play.machine.add("mtty0", play.deadline)


async def test_an_unknown_device_cannot_be_added(play: Play) -> None:
    with pytest.raises(MissingCapability):
        await play.machine.add("another", play.deadline)


def test_devices_with_an_id_are_known_in_either_form() -> None:
    plain = "edu,id=plain,romfile=a,,b=c,dma_mask=7"
    found = device_arguments((*ARGV, "-device", '{"driver": "edu"}', "-device", "pvpanic", "-device", plain))
    assert set(found) == {"mtty0", "plain"}
    assert found["plain"] == {"driver": "edu", "id": "plain", "romfile": "a,b=c", "dma_mask": "7"}


async def test_a_reboot_by_the_guest(play: Play) -> None:
    def resets() -> None:
        asyncio.get_running_loop().call_soon(lambda: play.qmp.tell("RESET", guest=True))

    play.guest.rebooting = resets
    await play.machine.reboot("guest", play.deadline)
    assert play.guest.told == ["reboot", "restarted", "ready"]
    assert play.qmp.asked == [("set-action", {"reboot": "reset"}), ("set-action", {"reboot": "shutdown"})]
    assert play.qmp.watchers == []


async def test_a_reset_of_the_machine(play: Play) -> None:
    play.qmp.answers["system_reset"] = lambda: play.qmp.tell("RESET", guest=False)
    await play.machine.reboot("reset", play.deadline)
    assert play.guest.told == ["restarted", "ready"]
    assert [command for command, _ in play.qmp.asked] == ["set-action", "system_reset", "set-action"]


async def test_a_guest_that_does_not_reboot_and_the_rule_after_it(play: Play) -> None:
    with pytest.raises(DeadlineExceeded, match="for the reset of its machine, in vain"):
        await play.machine.reboot("guest", Deadline.after(0.05))
    assert play.qmp.asked[-1] == ("set-action", {"reboot": "shutdown"})
    assert "restarted" not in play.guest.told
