# SPDX-License-Identifier: GPL-2.0-or-later
"""The stage of a run: the device servers, QEMU and the guest on a host that is up, watched, and taken down again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import GuestTrouble
from passthru.guest.console import Pipes
from passthru.guest.guest import Guest, Streams, guest_over
from passthru.qemu import qmp
from passthru.qemu.argv import AGENT, QMP, SERIAL, SHELL
from passthru.run import guest_container
from passthru.run.assembly import qemu_child
from passthru.run.companions import device_servers, end_before, last_words, others
from passthru.run.host_hand import HostPrograms
from passthru.run.machine import QemuMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from passthru.deadline import Deadline
    from passthru.events import Tell
    from passthru.host import Child, Exit, Host
    from passthru.host.rig import Rig
    from passthru.qemu.qmp import Qmp, QmpEvent
    from passthru.run.directory import RunDirectory
    from passthru.run.hosts import HostUp
    from passthru.run.plan import Plan

LAST_WORDS = 0.1
"""Seconds between QEMU's exit, or its word of a panic, and the trouble made of it: what the guest's kernel said last
may still be on its way, and says more."""

EXIT_SECONDS = 2.0
"""How long a QEMU that has closed its QMP session may take to exit."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs; the guest may still be booting."""

    up: HostUp
    guest: Guest
    qmp: Qmp
    qemu: Child
    companions: Mapping[str, Child]
    programs: HostPrograms
    """The hand on the host that checks are given."""

    @property
    def host(self) -> Host:
        """Where QEMU runs."""
        return self.up.host

    @property
    def machine(self) -> QemuMachine:
        """The hand on the guest's machine that checks are given."""
        return QemuMachine(self.qmp, self.guest, self.qemu.argv)


@contextlib.asynccontextmanager
async def set_up(
    plan: Plan, up: HostUp, directory: RunDirectory, deadline: Deadline, tell: Tell, arguments: Sequence[str] = ()
) -> AsyncIterator[Stage]:
    """Start everything that ``plan`` names on a host that is ``up``; leaving takes it all down again.

    ``arguments`` are QEMU's further ones.

    From then on the death of any part is trouble of the guest, which breaks whatever waits for it. Raises Unusable,
    GuestTrouble, DeadlineExceeded, WorkerLost.
    """
    async with contextlib.AsyncExitStack() as stack:
        host = up.host
        servers = await stack.enter_async_context(
            device_servers(plan.scenario, directory, host, deadline, traced=up.rig is None)
        )
        bridge = None
        if name := plan.bridged:
            made, output = up.prepared[name], directory.output(name)
            bridge = await guest_container.start(name, made, plan.scenario.guest, host, deadline, output)
        qemu = await host.start(qemu_child(plan, up, directory, arguments))
        if any(device.companion for device in plan.scenario.served.values()):
            stack.push_async_callback(end_before, qemu)
        serial = Pipes(*qemu.pipes[SERIAL]) if SERIAL in qemu.pipes else qemu.streams[SERIAL]
        streams = Streams(serial, qemu.streams.get(AGENT), qemu.streams.get(SHELL))
        quirks = plan.scenario.guest.quirks
        guest = await stack.enter_async_context(
            guest_over(streams, deadline=deadline, tell=tell, directory=directory.path, quirks=quirks)
        )
        watch = _Watch(guest)
        stack.callback(watch.stop)
        watch.worker(host)
        if up.rig is not None:
            watch.rig(up.rig)
        for name, server in servers.items():
            watch.companion(server, directory.output(name))
        if bridge is not None:
            watch.companion(bridge, directory.output(bridge.name), ends_with_qemu=True)
        for name, gone in (await others(plan.scenario, host)).items():
            watch.other(name, gone)
        watch.qemu(qemu, directory.output(qemu.name))
        session = qmp.connected(qemu.streams[QMP], deadline=deadline, name=plan.qemu.title, transcript=directory.qmp)
        try:
            monitor = await guest.troubles.guard(stack.enter_async_context(session))
        except GuestTrouble as trouble:
            # A QEMU that did not like its arguments ends its QMP session first; its own words come with its exit.
            await asyncio.wait({qemu.exited}, timeout=EXIT_SECONDS)
            await asyncio.sleep(2 * LAST_WORDS)
            raise guest.troubles.first or trouble from None
        watch.monitor(monitor)
        if up.rig is not None and plan.accelerator.name == "kvm":
            from passthru.run import nested_kvm  # what guests of this machine do without

            await stack.enter_async_context(nested_kvm.watched(guest, monitor))
        yield Stage(
            up, guest, monitor, qemu, servers, HostPrograms(host, directory.path, up.facts, guest.troubles.guard)
        )


class _Watch:
    """Turns the death of a part into trouble of the guest, until it is stopped."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._stopped = False

    def stop(self) -> None:
        """From now on parts end because they are meant to."""
        self._stopped = True

    def worker(self, host: Host) -> None:
        """Without its worker everything on the host ends."""

        def lost(future: asyncio.Future[None]) -> None:
            if not self._stopped and not future.cancelled() and (error := future.exception()):
                self._guest.trouble(GuestTrouble("worker", str(error)))

        host.lost.add_done_callback(lost)

    def rig(self, rig: Rig) -> None:
        """What happens to the host of a guest happens to the guest."""

        def troubled(trouble: GuestTrouble) -> None:
            if not self._stopped:
                self._guest.trouble(trouble)

        rig.troubles.when_first(troubled)

    def companion(self, child: Child, output: Path, *, ends_with_qemu: bool = False) -> None:
        """A device server serves as long as the guest runs, so its exit is always trouble of the device.

        But one that ends with status 0 when QEMU does may be the first to be heard of.
        """

        def exited(future: asyncio.Future[Exit]) -> None:
            if not self._stopped and (how := _exit(future)) and not (ends_with_qemu and how.code == 0):
                words = last_words(output)
                self._guest.trouble(GuestTrouble("device", f"the device server {child.name} {how}{words}"))

        child.exited.add_done_callback(exited)

    def other(self, name: str, gone: asyncio.Future[None]) -> None:
        """So it is with a server that ran already; how it ended is not known."""

        def ended(future: asyncio.Future[None]) -> None:
            if not self._stopped and not future.cancelled():
                self._guest.trouble(GuestTrouble("device", f"the device server {name}, which ran already, has ended"))

        gone.add_done_callback(ended)

    def qemu(self, child: Child, output: Path) -> None:
        """QEMU runs until it is told to quit, so its exit is trouble."""

        def exited(future: asyncio.Future[Exit]) -> None:
            if how := _exit(future):
                self._later(lambda: GuestTrouble("qemu", f"QEMU {how}{last_words(output)}"))

        child.exited.add_done_callback(exited)

    def monitor(self, monitor: Qmp) -> None:
        """QEMU tells of a panic that the guest's pvpanic driver reported, and of errors after which it stops."""

        def seen(event: QmpEvent) -> None:
            if event.name == "GUEST_PANICKED":
                self._later(lambda: GuestTrouble("guest-kernel", "the guest's kernel panicked, as QEMU says"))

        monitor.watch(seen)

    def _later(self, trouble: Callable[[], GuestTrouble]) -> None:
        def declare() -> None:
            if not self._stopped:
                self._guest.trouble(trouble())

        asyncio.get_running_loop().call_later(LAST_WORDS, declare)


def _exit(future: asyncio.Future[Exit]) -> Exit | None:
    """How a child ended; None where that is not known, as the worker has gone with it (told elsewhere)."""
    if future.cancelled() or future.exception() is not None:
        return None
    return future.result()
