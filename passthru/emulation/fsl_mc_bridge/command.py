# SPDX-License-Identifier: GPL-2.0-or-later
"""The process between a container of the host and a guest's QEMU: `serve`, and the command line around it.

Errors are one sentence on stderr: exit 2 for what the caller wrote wrong, 125 for what the machine does not allow.
SIGTERM, SIGINT and SIGHUP end it with 0, and so does the end of QEMU.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from passthru.emulation.ending import ended_by_signals
from passthru.emulation.fsl_mc_bridge.bridge import Bridge
from passthru.emulation.fsl_mc_bridge.held import hold
from passthru.emulation.fsl_mc_bridge.places import (
    CONTROL_SIZE,
    FIRMWARE_RUNS,
    PORTALS_SIZE,
    QUEUES_SIZE,
    STATUS_REGISTER,
)
from passthru.emulation.fsl_mc_bridge.settings import parse_settings
from passthru.emulation.shared_ram.given import connected, run_given, tell_ready
from passthru.emulation.shared_ram.qtest import Qtest
from passthru.emulation.shared_ram.ram import GuestRam
from passthru.emulation.shared_ram.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.emulation.fsl_mc_bridge.settings import Settings

USAGE = "usage: python -m passthru.emulation.fsl_mc_bridge (SETTINGS.json | JSON)"
IDLE_SECONDS = 0.01
"""Between looks when nothing happens: in an emulated rig, looks as frequent as on its host are a quarter of a core."""
READY = "the container is held"
"""What is printed, on a line, when the guest's QEMU may start."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    return run_given(arguments, "the description", USAGE, lambda text: serve(parse_settings(text)))


def serve(settings: Settings) -> None:
    """Give the container to the guest until its QEMU ends or SIGTERM, SIGINT or SIGHUP comes.

    For the main thread of a process that does nothing else. Raises UserMistake, Unusable.
    """
    with ExitStack() as stack, ended_by_signals():
        ram = GuestRam(settings.ram.path, settings.ram.base, settings.ram.size)
        stack.callback(ram.close)
        windows = ram.part(settings.portals, PORTALS_SIZE), ram.part(settings.queues, QUEUES_SIZE)
        control = ram.part(settings.control, CONTROL_SIZE)
        for window in (*windows, control):
            stack.callback(window.release)
        control[STATUS_REGISTER] = FIRMWARE_RUNS
        held = hold(settings)
        stack.callback(held.close)
        bridge = Bridge(held, *windows)
        stack.callback(bridge.close)
        tell_ready(READY, settings.ready)
        # Pinning all of the guest's RAM takes as long as its QEMU takes to start, and the first command waits for us.
        held.show(settings.ram.path, settings.ram.base, settings.visible)
        qtest = Qtest(connected(settings.qtest))
        stack.callback(qtest.close)
        rounds = Rounds(qtest, IDLE_SECONDS)
        bridge.plugged(rounds.watch, qtest.write_word)
        rounds.run([bridge])
