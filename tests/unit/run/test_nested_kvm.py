# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that spins with interrupts off, told from its registers, and only that one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from passthru.errors import GuestStuck, GuestTrouble, PassthruError
from passthru.run import nested_kvm
from passthru.run.nested_kvm import LOOKS, Spinning, places, watched

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCK = 0xFFFFFFFF82A18749
"""Where Linux waits for a spinlock."""


def registers(*processors: tuple[int, int, int]) -> str:
    """What the monitor prints of processors at a place, with flags, halted or not."""
    return "".join(
        f"\r\nCPU#{number}\r\nRAX=0000000000000101 RBX=ffffffff8433fcc4 RCX=00000000fffedfeb RDX=0000000000000000\r\n"
        f"R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000\r\n"
        f"RIP={place:016x} RFL={flags:08x} [-------] CPL=0 II=0 A20=1 SMM=0 HLT={halted}\r\n"
        f"ES =0000 0000000000000000 00000000 00000000\r\n"
        for number, (place, flags, halted) in enumerate(processors)
    )


def test_processors_in_the_kernel_with_interrupts_off() -> None:
    shown = registers(
        (LOCK, 0x2, 0),
        (LOCK, 0x202, 0),  # interrupts are on
        (LOCK, 0x2, 1),  # halted
        (0x100749, 0x2, 0),  # before Linux
    )
    assert places(shown) == {0: LOCK}


@pytest.mark.parametrize("shown", ["", "CPU#0\r\n PC=ffff80001000 X00=0000000000000000\r\nPSTATE=600003c5"])
def test_of_another_architecture_nothing_is_known(shown: str) -> None:
    assert places(shown) == {}


def after(looks: Iterable[int]) -> Spinning:
    """After looks that found one processor, with interrupts off, at these places."""
    spinning = Spinning({})
    for place in looks:
        spinning = spinning.after(registers((place, 0x2, 0)))
    return spinning


def test_one_loop_in_each_of_many_looks() -> None:
    assert after([LOCK, LOCK + 4, LOCK - 2, LOCK]).stuck == LOCK
    assert after([LOCK] * (LOOKS - 1)).stuck is None
    assert after([LOCK] * (LOOKS - 1) + [LOCK + 4096] * (LOOKS - 1)).stuck is None


def test_a_processor_that_was_seen_elsewhere_begins_anew() -> None:
    spinning = after([LOCK] * (LOOKS - 1)).after(registers((LOCK, 0x202, 0)))
    assert spinning.after(registers((LOCK, 0x2, 0))).stuck is None


class Said:
    """A guest as far as it is asked: how long it has been silent, each time; what it is told in the end."""

    def __init__(self, silences: Iterable[float]) -> None:
        self._silences = iter(silences)
        self.asked = 0
        self.asked_often = asyncio.Event()
        self.told: asyncio.Future[GuestTrouble] = asyncio.get_running_loop().create_future()

    @property
    def silent(self) -> float:
        self.asked += 1
        if self.asked >= 20:
            self.asked_often.set()
        return next(self._silences, 1000.0)

    def trouble(self, trouble: GuestTrouble) -> None:
        self.told.set_result(trouble)


class Monitor:
    """QEMU, whose processor is always at the same place."""

    def __init__(self, error: PassthruError | None = None, status: str = "running") -> None:
        self.asked = 0
        self.status = status
        self.first_asked = asyncio.Event()
        self._error = error

    async def execute(self, command: str, arguments: dict[str, str] | None = None) -> str | dict[str, str]:
        if command == "query-status":
            return {"status": self.status}
        assert (command, arguments) == ("human-monitor-command", {"command-line": "info registers -a"})
        self.asked += 1
        self.first_asked.set()
        if self._error:
            raise self._error
        return registers((LOCK, 0x2, 0))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits here."""
    monkeypatch.setattr(nested_kvm, "PERIOD", 0.001)
    monkeypatch.setattr(nested_kvm, "LONGEST_PAUSE", 0.004)


async def test_only_a_silent_guest_is_looked_at() -> None:
    guest, monitor = Said([0.0, 0.0, 1000.0, 1000.0, 0.0]), Monitor()
    async with watched(guest, monitor):  # type: ignore[arg-type]
        trouble = await asyncio.wait_for(guest.told, 20)
    assert isinstance(trouble, GuestStuck)
    assert trouble.culprit == "rig"
    assert str(trouble).startswith(f"the guest spins at {LOCK:#x} with interrupts off")
    assert monitor.asked == 2 + LOOKS


async def test_a_guest_that_is_held_spins_nowhere() -> None:
    guest, monitor = Said([0.0]), Monitor(status="paused")
    async with watched(guest, monitor):  # type: ignore[arg-type]
        await asyncio.wait_for(guest.asked_often.wait(), 20)
    assert monitor.asked == 0
    assert not guest.told.done()


async def test_a_monitor_that_is_gone_ends_it() -> None:
    guest, monitor = Said([]), Monitor(GuestTrouble("qemu", "it is gone"))
    async with watched(guest, monitor):  # type: ignore[arg-type]
        await monitor.first_asked.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert monitor.asked == 1
    assert not guest.told.done()
