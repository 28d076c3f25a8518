# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with one PCI device that a machine plugs in and out, each of them as faulty as a test wants it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.check.context import Context
from passthru.check.registry import check, judge
from passthru.deadline import Deadline
from tests.unit.check.harness import Answer, Complaint, Log, device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from passthru.check.finding import Finding
    from passthru.check.machine import How
    from passthru.check.options import CheckOptions

ADDRESS = "0000:00:05.0"


@dataclass
class PluggedGuest:
    """Answers the scripts of ``presence`` and ``reboot`` from its state."""

    there: bool = True
    identity: str = "0x4348:0x3253 class 0x070002"
    driver: str | None = "serial"
    ttys: tuple[str, ...] = ("ttyS1", "ttyS2")
    left: tuple[str, ...] = ()
    boots: int = 1
    kernel_log: Log = field(default_factory=Log)
    looks: int = 0
    looked: Callable[[PluggedGuest], None] = lambda guest: None

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        if "boot_id" in command:
            return Answer(f"boot-{self.boots}\n".encode())
        self.looks += 1
        self.looked(self)
        if "echo looked" in command:
            return Answer("".join(f"{line}\n" for line in (*self.left, "looked")).encode())
        if not self.there:
            return Answer(status=3)
        lines = [f"identity {self.identity}"]
        if self.driver:
            lines += [f"driver {self.driver}", *(f"part tty {name}" for name in self.ttys)]
        return Answer("".join(f"{line}\n" for line in lines).encode())


@dataclass
class FakeMachine:
    """``asked`` is what was asked for; the callables may raise, or do something to the guest."""

    guest: PluggedGuest
    removing: Callable[[PluggedGuest], None] = lambda guest: None
    adding: Callable[[PluggedGuest], None] = lambda guest: None
    rebooting: Callable[[PluggedGuest], None] = lambda guest: None
    asked: list[str] = field(default_factory=list)

    async def remove(self, device: str, deadline: Deadline) -> None:
        self.asked.append(f"remove {device}")
        self.guest.there = False
        self.removing(self.guest)

    async def add(self, device: str, deadline: Deadline) -> None:
        self.asked.append(f"add {device}")
        self.guest.there = True
        self.adding(self.guest)

    async def reboot(self, how: How, deadline: Deadline) -> None:
        self.asked.append(f"reboot {how}")
        self.guest.boots += 1
        self.guest.kernel_log.lines.append("Linux version 6.1")
        self.rebooting(self.guest)


async def judged(
    use: str,
    machine: FakeMachine | None,
    guest: PluggedGuest | None = None,
    *,
    checks: Mapping[str, CheckOptions] | None = None,
    passed: tuple[str, ...] = (),
    **table: object,
) -> Finding:
    """The finding of ``use`` with these options, on the device mtty0."""
    there = machine.guest if machine else guest
    assert there is not None
    mtty = device(ADDRESS)
    options = check(use).Options.model_validate({"use": use, "device": mtty.id, "patience": 0.05, **table})
    context = Context(
        there,
        mtty,
        Deadline.after(30.0),
        machine=machine,
        devices={mtty.id: mtty},
        checks=checks or {},
        passed=passed,
    )
    return await judge(context, options)


def complaint(guest: PluggedGuest) -> None:
    """The guest's kernel complains."""
    guest.kernel_log.splats.append(Complaint("WARNING: CPU: 0 PID: 1 at drivers/pci/remove.c:1"))
