# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig as the host: a machine emulated by QEMU on this machine, with a worker in it that is driven over a line.

Its QEMU is a child of a worker on this machine, so nothing of it outlives us. A rig's worker is the same program as a
local one; what differs is the stream that drives it, and how its children's streams reach us (see ``wiring``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble, PassthruError, Unusable, WorkerLost
from passthru.events import Note
from passthru.guest.console import Console, Pipes
from passthru.guest.kernel_log import KernelLog
from passthru.guest.recording import recorded
from passthru.guest.trouble import Troubles
from passthru.host.connection import Connection, discard
from passthru.host.events import WorkerEnded, WorkerStarted
from passthru.host.local import END_SECONDS, undisturbed
from passthru.host.place import InRig
from passthru.host.rig_devices import devices_in, how_it_ended, memory_file
from passthru.host.wiring import ByLines
from passthru.host.worker_host import WorkerHost
from passthru.worker.protocol import PROTOCOL
from passthru.worker.stream import FramedStream

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from passthru.events import Tell
    from passthru.guest.splat import Splat
    from passthru.host.host import Child, ChildSpec, Exit, Host
    from passthru.host.rig_devices import SharedRam
    from passthru.worker.stream import Message

RIG = "rig"
"""The name of the child that is the rig's QEMU, of its console's recording, and of the culprit that is no subject."""
SLOWER = 3
"""How much longer a worker may take to end in an emulated machine."""
LAST_WORDS = 0.2
"""Seconds between the exit of the rig's QEMU and the trouble made of it: its kernel's last words may say more."""


@dataclass(frozen=True)
class RigSpec:
    """What a rig is started with: its QEMU, and which of its streams are what."""

    child: ChildSpec
    console: str
    """The stream of its first serial port, with its kernel's messages."""
    worker: str
    """The stream of the port that the worker serves."""
    lines: Mapping[str, str]
    """Names of ports that carry streams of the worker's children -> streams of its QEMU."""
    outside: Mapping[str, str]
    """Pieces of hardware -> the stream that is their other side."""
    files: Mapping[Path, str]
    """Files of this machine -> their paths in the rig."""
    python: str
    """The rig's Python."""
    code: str
    """The directory there that holds passthru."""
    quirks: Sequence[str] = ()
    """Patterns of known complaints of its kernel."""
    person: str | None = None
    """The stream of a console with a shell, for a person."""
    shared: SharedRam | None = None
    """Its RAM, where there are devices of ours in it."""


class Rig:
    """A rig that is up, or on its way."""

    def __init__(self, spec: RigSpec, qemu: Child, deadline: Deadline, tell: Tell) -> None:
        self.qemu = qemu
        self.troubles = Troubles()
        self.kernel_log = KernelLog(quirks=spec.quirks)
        serial = Pipes(*qemu.pipes[spec.console]) if spec.console in qemu.pipes else qemu.streams[spec.console]
        self.console = Console("the rig's console", serial, uart=True)
        self.outside: dict[str, socket.socket] = {name: qemu.streams[stream] for name, stream in spec.outside.items()}
        self.person = qemu.streams[spec.person] if spec.person else None
        self._tell = tell
        self._began = time.monotonic()
        self._pid = 0
        self._reason: str | None = None
        self._failed: tuple[str, ...] = ()
        self._leaving = False
        self._gone = asyncio.Event()
        lines = {port: qemu.streams[stream] for port, stream in spec.lines.items()}
        self._wiring = ByLines(lines)
        self.host = WorkerHost(deadline, tell, InRig(self._wiring, spec.files, spec.python, spec.code))
        self.console.listen(self.kernel_log.feed)
        self.console.ended.add_done_callback(lambda _: self.kernel_log.finish())
        self.kernel_log.on_splat(self._splat)
        self._connection = Connection(
            FramedStream(qemu.streams[spec.worker].detach()), on_event=self._take_event, on_end=self._stream_ended
        )
        qemu.exited.add_done_callback(self._exited)

    async def greet(self, deadline: Deadline) -> None:
        """Wait until the worker in the rig answers. Raises GuestTrouble, DeadlineExceeded, Unusable."""
        async with deadline.waiting_for("the rig's worker to answer", self.kernel_log.last_lines):
            hello = await self.troubles.guard(self.host.attach(self._connection))
        if hello["protocol"] != PROTOCOL:
            raise Unusable(f"the rig's worker speaks version {hello['protocol']} of the protocol, not {PROTOCOL}")
        self._pid = hello["pid"]
        seconds = time.monotonic() - self._began
        self._tell(WorkerStarted(hello["pid"], hello["scratch"], hello["kernel"], hello["python"], seconds))

    async def end(self) -> None:
        """Have the worker undo everything, as far as it still can; the rig's QEMU is ended by whoever started it."""
        began = time.monotonic()
        if self._pid and self.troubles.first is None and not self._gone.is_set():
            self._leaving = True
            limit = Deadline.after(END_SECONDS * SLOWER)
            asked = self._connection.request("end", "the rig's worker to end", limit, self._take_goodbye)
            try:
                await self.troubles.guard(asked)
            except (WorkerLost, GuestTrouble, DeadlineExceeded) as error:
                self._reason = str(error)
            self._tell(WorkerEnded(self._pid, self._reason, self._failed, time.monotonic() - began))
            for failure in self._failed:
                self._tell(Note(f"the rig's worker left something behind: {failure}"))
        self._leaving = True

    async def close(self) -> None:
        """Close all streams."""
        self._leaving = True
        self._connection.close()
        self.host.lose(WorkerLost("the rig has ended"))
        self.host.close_streams()
        await self._wiring.finished()
        self.console.close()
        self.kernel_log.finish()

    def watch(self, devices: Child, shared: SharedRam) -> None:
        """The devices in its RAM: they end when its QEMU does, and it is their trouble if they end before."""

        def look(end: str) -> None:
            if not self.qemu.exited.done():
                self.trouble("device", f"the process of the rig's shared RAM {how_it_ended(end, shared)}")

        def exited(future: asyncio.Future[Exit]) -> None:
            if not future.cancelled() and future.exception() is None:
                asyncio.get_running_loop().call_later(LAST_WORDS, look, str(future.result()))

        devices.exited.add_done_callback(exited)

    def trouble(self, culprit: str, message: str) -> None:
        """Something of the rig died or complained."""
        if not self._leaving:
            self.kernel_log.settle()
            self.troubles.declare(GuestTrouble(culprit, message))

    def _take_event(self, event: Message) -> None:
        match event["event"]:
            case "exited" | "output" | "gone":
                self.host.take_event(event)
            case "ending":
                self._reason = event["reason"]
            case "ended":
                self._failed = tuple(event["failed"])

    def _take_goodbye(self, answer: Message, descriptors: list[int]) -> None:
        discard(answer, descriptors)
        self._failed = tuple(answer["failed"])

    def _stream_ended(self, reason: str) -> None:
        self._gone.set()
        # Why it is gone is told first, by whoever knows more.
        lost = WorkerLost(f"the rig's worker was lost: {self._reason or reason}")
        asyncio.get_running_loop().call_later(2 * LAST_WORDS, self.host.lose, lost)

    def _exited(self, future: asyncio.Future[Exit]) -> None:
        if self._leaving:
            return
        self._gone.set()
        end = "is gone with the worker of this machine"
        if not future.cancelled() and future.exception() is None:
            end = str(future.result())
        asyncio.get_running_loop().call_later(LAST_WORDS, self._made_of_the_exit, end)

    def _made_of_the_exit(self, end: str) -> None:
        if self.troubles.first is None:
            last = self.kernel_log.last_lines()
            shown = "".join(f"\n    | {line}" for line in last)
            said = f"; its console showed last:{shown}" if shown else ""
            if self.kernel_log.turned_off:
                end = "turned itself off"
            self.trouble(RIG, f"the rig's QEMU {end}{said}")
        # Those who wait for the worker hear of the trouble first, where they hear of it at all.
        asyncio.get_running_loop().call_soon(self.host.lose, WorkerLost(f"the rig's QEMU {end}"))

    def _splat(self, splat: Splat) -> None:
        if splat.quirk is not None:
            self._tell(Note(f"known quirk of the host's kernel ({splat.quirk}): {splat.title}"))
        elif splat.fatal:
            shown = "".join(f"\n    | {line}" for line in splat.lines[:40])
            self.trouble("host-kernel", f"the host's kernel (the rig's) died: {splat.title}{shown}")


@contextlib.asynccontextmanager
async def open_rig(
    spec: RigSpec,
    local: Host,
    *,
    deadline: Deadline,
    tell: Tell,
    directory: Path | None = None,
    booting: Deadline | None = None,
) -> AsyncIterator[Rig]:
    """Boot a rig on ``local``; leaving the context has its worker undo everything, and ends it.

    It must be up by ``booting``, or else by ``deadline``, which is that of all on it. ``directory`` takes the recording
    of its console (rig.log, rig.cast). Raises Unusable: its QEMU cannot be started; GuestTrouble: it died (``culprit``
    host-kernel or rig, or device for one in its RAM); DeadlineExceeded: it did not come up.
    """
    async with contextlib.AsyncExitStack() as stack:
        recording = None if directory is None else await stack.enter_async_context(recorded(directory, RIG))
        child, devices = spec.child, None
        if spec.shared is not None:
            path = stack.enter_context(memory_file(spec.shared.mebibytes))
            child = replace(child, argv=tuple(word.replace(spec.shared.placeholder, path) for word in child.argv))
            devices = await stack.enter_async_context(devices_in(spec.shared, path, local, booting or deadline))
        qemu = await local.start(child)
        stack.push_async_callback(_kill, qemu)
        rig = Rig(spec, qemu, deadline, tell)
        stack.push_async_callback(rig.close)
        if devices is not None and spec.shared is not None:
            rig.watch(devices, spec.shared)
        if recording is not None:
            rig.console.listen(recording.write)
        await rig.greet(booting or deadline)
        try:
            yield rig
        finally:
            await undisturbed(rig.end())


async def _kill(qemu: Child) -> None:
    with contextlib.suppress(PassthruError):  # the worker has gone, and its children with it
        await qemu.kill()
