# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest under the KVM of a rig, which QEMU's emulation of AMD's SVM now and then brings to a standstill.

QEMU delivers the interrupt that the rig's KVM injects by VMRUN, and leaves its vector behind as an exception that is
still to be raised (target/i386/tcg/system/svm_helper.c, helper_vmrun, SVM_EVTINJ_TYPE_INTR: cs->exception_index). As a
rule something else takes its place. But where QEMU's processor is made to leave its loop first (accel/tcg/cpu-exec.c,
cpu_handle_interrupt: exit_request, as of a forced RCU grace period, which changes of QEMU's memory map bring about, and
so does whoever writes a PCI device's command register), the interrupt is delivered once more, be interrupts off or not.
Linux then waits in its timer's handler, with interrupts off, for a lock that the same processor holds, for ever. Read
in QEMU 10.2.2, seen with 11.1.3 (the guest's stack has two frames of vector 236, the inner one with IF clear and RF
set), in one boot of 20 to 100, the more often the busier the machine is.

Nothing under test is to blame, and another boot is worth more than that error.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import GuestStuck, PassthruError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from passthru.guest.guest import Guest
    from passthru.qemu.qmp import Qmp

PERIOD = 2.0
"""Seconds of silence after which the guest's processors are looked at, and between two looks."""
LONGEST_PAUSE = 15 * PERIOD
"""Seconds between two looks at a guest that is silent, but does nothing strange."""
LOOKS = 4
"""Looks in a row that find a processor in one loop with interrupts off."""

_LOOP = 64
"""Bytes of code."""
_KERNEL = 1 << 63
"""Addresses above are Linux's own; its decompressor, which has interrupts off, runs below."""
_IF = 1 << 9
"""RFLAGS: interrupts are on."""

_PROCESSOR = re.compile(r"^CPU#(\d+)$(.*?)(?=^CPU#|\Z)", re.M | re.S)
_STATE = re.compile(r"^RIP=([0-9a-f]{16}) RFL=([0-9a-f]{8}) .*\bHLT=([01])", re.M)


@dataclass(frozen=True)
class Spinning:
    """Where each processor that may be in such a loop was first seen in it, and how often since."""

    since: Mapping[int, tuple[int, int]]

    def after(self, registers: str) -> Spinning:
        """After one more look, whose answer is that of the monitor's ``info registers -a``."""
        since = {}
        for processor, place in places(registers).items():
            first, seen = self.since.get(processor, (place, 0))
            since[processor] = (first, seen + 1) if abs(place - first) <= _LOOP else (place, 1)
        return Spinning(since)

    @property
    def stuck(self) -> int | None:
        """The address of the loop that a processor does not leave any more."""
        return next((first for first, seen in self.since.values() if seen >= LOOKS), None)


def places(registers: str) -> dict[int, int]:
    """Where the processors are that run Linux with interrupts off: addresses by their numbers.

    ``registers`` is what x86's ``info registers -a`` prints (QEMU's target/i386/cpu-dump.c); of another architecture's
    nothing is found.
    """
    found = {}
    for number, text in _PROCESSOR.findall(registers.replace("\r", "")):
        if state := _STATE.search(text):
            place, flags = int(state[1], 16), int(state[2], 16)
            if place >= _KERNEL and not flags & _IF and state[3] == "0":
                found[int(number)] = place
    return found


@contextlib.asynccontextmanager
async def watched(guest: Guest, monitor: Qmp) -> AsyncIterator[None]:
    """As long as this is open, a guest that is stuck is told so: a GuestStuck breaks whatever waits for it."""
    task = asyncio.create_task(_watch(guest, monitor), name="nested KVM")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(guest: Guest, monitor: Qmp) -> None:
    spinning = Spinning({})
    pause = PERIOD
    while spinning.stuck is None:
        await asyncio.sleep(pause)
        if guest.silent < pause:
            spinning = Spinning({})
            pause = PERIOD
            continue
        try:
            spinning = spinning.after(await _registers(monitor))
        except PassthruError:
            return  # QEMU has gone, or does not answer: told elsewhere
        # A guest that idles, for a person at its shell say, is looked at less and less often.
        pause = PERIOD if spinning.since else min(2 * pause, LONGEST_PAUSE)
    guest.trouble(
        GuestStuck(
            f"the guest spins at {spinning.stuck:#x} with interrupts off and says nothing: QEMU's emulation of SVM, on"
            " which the host's KVM runs, has delivered it an interrupt twice, or its kernel is deadlocked"
        )
    )


async def _registers(monitor: Qmp) -> str:
    if (await monitor.execute("query-status"))["status"] != "running":
        return ""  # somebody holds the guest where it is
    answer: str = await monitor.execute("human-monitor-command", {"command-line": "info registers -a"})
    return answer
