# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest, over streams that somebody opened: nothing here knows where it runs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import DeadlineExceeded, GuestTrouble
from passthru.events import Note, Tell, tell_nobody
from passthru.guest.commands import CommandFailed, Completed
from passthru.guest.console import Console, Pipes
from passthru.guest.kernel_log import KernelLog
from passthru.guest.port import PortLink
from passthru.guest.recording import recorded
from passthru.guest.shared_line import SharedLink
from passthru.guest.shell import Shell, quoted
from passthru.guest.trouble import Troubles

if TYPE_CHECKING:
    import re
    import socket
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from passthru.deadline import Deadline
    from passthru.guest.protocol import Hello
    from passthru.guest.splat import Splat

END_GRACE = 0.2
"""Seconds between the end of a stream and the trouble made of it: whoever knows more (the kernel's last words in the
other stream, QEMU's exit status) may say so first."""
RETRY_PAUSES = (0.05, 0.1, 0.2, 0.5)
UPLOAD_PIECE = 18000


@dataclass(frozen=True)
class Streams:
    """Our ends of a guest's consoles: connected sockets; ttyS0 is better two pipes (see console.py).

    ``kernel`` is ttyS0; ``agent`` the virtio-serial port passthru.agent and ``shell`` the virtio console hvc0,
    where the machine has them."""

    kernel: socket.socket | Pipes
    agent: socket.socket | None = None
    shell: socket.socket | None = None


@dataclass(frozen=True)
class Silence:
    """For how long a guest may say nothing, in seconds before the deadline's scaling.

    ``booting``: no byte on any console until its agent is there. ``answering``: no word of the agent although asked."""

    booting: float = 10.0
    answering: float = 5.0


class Guest:
    """One running guest; made by ``guest_over``, which also ends it."""

    def __init__(
        self, streams: Streams, *, deadline: Deadline, tell: Tell, quirks: Sequence[str], silence: Silence
    ) -> None:
        self.kernel_log = KernelLog(quirks=quirks)
        self.consoles = {"kernel": Console("the kernel's console", streams.kernel, uart=True)}
        if streams.agent is not None:
            self.consoles["agent"] = Console("the agent's port", streams.agent)
        if streams.shell is not None:
            self.consoles["shell"] = Console("the guest's shell console", streams.shell)
        self.troubles = Troubles()
        self._tell = tell
        self._silence = silence
        self._leaving = False
        self._shell = Shell(self.troubles, deadline, self.kernel_log.last_lines, silence=silence.answering)
        kernel = self.consoles["kernel"]
        self._shared = SharedLink(kernel, self._shell.ears, self.kernel_log.feed, tell)
        self._port = PortLink(self.consoles["agent"], self._shell.ears) if streams.agent is not None else None
        self.kernel_log.on_splat(self._splat)
        kernel.ended.add_done_callback(lambda _: self.kernel_log.finish())
        for name in ("kernel", "agent"):
            if name in self.consoles:
                self.consoles[name].ended.add_done_callback(self._stream_ended)

    # --- the life of the guest ---

    @property
    def deadline(self) -> Deadline:
        """What bounds every wait; without one (``Deadline()``) silence has no limit either. May be replaced."""
        return self._shell.deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._shell.deadline = deadline

    async def ready(self, seconds: float = 60.0) -> Hello:
        """Wait until the guest's shell can be used; ``seconds`` before scaling.

        Raises GuestTrouble at once on panic, the end of a stream, silence; DeadlineExceeded."""
        deadline = self.deadline.narrowed(seconds)
        watch = asyncio.create_task(self._watch_boot(), name="boot silence")
        try:
            async with deadline.waiting_for("the guest's shell agent to start", self.kernel_log.last_lines):
                hello = await self.troubles.guard(asyncio.shield(self._shell.hello))
        finally:
            watch.cancel()
        if self._shared.in_use:
            self._shell.link = self._shared
            self._tell(Note("the guest has no virtio console: its shell shares ttyS0 with the kernel's messages"))
        else:
            self._shell.link = self._port
        return hello

    def trouble(self, trouble: GuestTrouble) -> None:
        """Tell the guest's waits of a trouble that somebody else saw (QEMU exited, a companion died): they end now."""
        if not self._leaving:
            self.kernel_log.settle()  # a panic that is still being told is the better reason
            self.troubles.declare(trouble)

    async def reboot(self) -> None:
        """Have the guest's kernel reboot at once; nothing is synced. See ``restarted`` for what follows."""
        await self._shell.tell("reboot")

    def restarted(self) -> None:
        """The machine was reset, as somebody saw: commands that ran are lost, and ``ready`` waits for the next agent.

        May be called several times for one reboot. Until ``ready`` no command can run."""
        self._shell.restarted()
        self._shared.restarted()
        if self._port is not None:
            self._port.restarted()

    async def power_off(self, seconds: float = 10.0) -> None:
        """Turn the machine off at once and wait for the end of its console. Nothing is synced."""
        self._leaving = True
        with contextlib.suppress(GuestTrouble):
            await self._shell.tell("poweroff")
        async with self.deadline.narrowed(seconds).waiting_for("the guest to power off", self.kernel_log.last_lines):
            await asyncio.shield(self.consoles["kernel"].ended)

    # --- commands ---

    async def run(self, command: str, timeout: float = 30.0) -> Completed:
        """Run a shell script in the guest: outputs and exit status, exactly.

        It runs as root in /, in a session of its own, with stdin empty; stdout and stderr are files, as in
        ``sh script >>out 2>>err``. It is over when its shell is, whatever it left in the background. ``timeout`` is in
        seconds before scaling: then all of its session is killed and CommandTimeout (a DeadlineExceeded) carries what
        it had printed. Raises GuestTrouble at once when the guest dies, CommandLost when the command killed the agent,
        OutputIncomplete when the guest's memory for outputs was full."""
        return await self._shell.run(command, timeout)

    async def succeed(self, command: str, timeout: float = 30.0) -> str:
        """The stdout of a command that must end with status 0; raises CommandFailed."""
        completed = await self.run(command, timeout)
        if completed.status != 0:
            raise CommandFailed(command, completed)
        return completed.text

    async def fail(self, command: str, timeout: float = 30.0) -> str:
        """The stdout of a command that must end with another status than 0; raises CommandFailed."""
        completed = await self.run(command, timeout)
        if completed.status == 0:
            raise CommandFailed(command, completed, "any other status")
        return completed.text

    async def wait_until_succeeds(self, command: str, timeout: float = 30.0) -> str:
        """Repeat a command until it ends with status 0; its stdout then. DeadlineExceeded shows its last failure."""
        deadline = self.deadline.narrowed(timeout)
        last: CommandFailed | None = None
        pauses = iter(RETRY_PAUSES)
        try:
            async with deadline.waiting_for(f"the guest command `{command}` to succeed"):
                while True:
                    try:
                        return await self.succeed(command, timeout)
                    except CommandFailed as error:
                        last = error
                    await self.troubles.guard(asyncio.sleep(next(pauses, RETRY_PAUSES[-1])))
        except DeadlineExceeded as error:
            if last is None:
                raise
            shown = str(last).splitlines()
            raise DeadlineExceeded(f"the guest command `{command}` to succeed", error.seconds, shown) from last

    async def wait_for_line(self, pattern: str | re.Pattern[str], timeout: float = 30.0, *, since: int = 0) -> str:
        """The first kernel message from line ``since`` on that holds ``pattern``; ends when the guest dies."""
        async with self._shell.liveness():
            return await self.troubles.guard(self.kernel_log.wait_for(pattern, self.deadline.narrowed(timeout), since))

    # --- files ---

    async def upload(self, data: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a small file (some 200 kB a second under TCG); raises CommandFailed where the guest cannot."""
        target = quoted(path)
        await self.succeed(f"true >{target} && chmod {mode:o} {target}")
        for start in range(0, len(data), UPLOAD_PIECE):
            text = base64.b64encode(data[start : start + UPLOAD_PIECE]).decode("ascii")
            await self.succeed(f"base64 -d >>{target} <<'.'\n{text}\n.")

    async def download(self, path: str, timeout: float = 30.0) -> bytes:
        """The bytes of a file; raises CommandFailed where the guest cannot read it."""
        completed = await self.run(f"cat {quoted(path)}", timeout)
        if completed.status != 0:
            raise CommandFailed(f"cat {quoted(path)}", completed)
        return completed.stdout

    # --- people ---

    async def shell_console(self, rows: int = 24, columns: int = 80) -> Console:
        """The console with an interactive shell on it, started if it is not; called again, it only sets the size."""
        device = await self._shell.ask(f"shell {rows} {columns}", "shell")
        return self.consoles["shell" if device == "/dev/hvc0" and "shell" in self.consoles else "kernel"]

    # --- trouble ---

    def _splat(self, splat: Splat) -> None:
        if splat.quirk is not None:
            self._tell(Note(f"known quirk ({splat.quirk}): {splat.title}"))
        elif splat.fatal:
            before = self.kernel_log.lines_before(splat.title, 5)
            message = f"the guest's kernel died: {splat.title}{_tail([*before, *splat.lines])}"
            if not self._leaving:
                self.troubles.declare(GuestTrouble("guest-kernel", message))

    def _stream_ended(self, _: asyncio.Future[None]) -> None:
        asyncio.get_running_loop().call_later(END_GRACE, self._made_of_the_end)

    def _made_of_the_end(self) -> None:
        if self.troubles.first is not None:
            return
        last = self.kernel_log.last_lines()
        if self.kernel_log.turned_off:
            self.trouble(GuestTrouble("guest-kernel", f"the guest turned itself off{_tail(last)}"))
        else:
            self.trouble(GuestTrouble("qemu", f"the guest's console ended: its QEMU is gone{_tail(last)}"))

    @property
    def silent(self) -> float:
        """Seconds since the last byte of any console, or since there is one."""
        return time.monotonic() - max(console.last_byte for console in self.consoles.values())

    async def _watch_boot(self) -> None:
        limit = math.inf if math.isinf(self.deadline.at) else self._silence.booting * self.deadline.scale
        began = time.monotonic()
        while True:
            silent = min(self.silent, time.monotonic() - began)
            if silent >= limit:
                tail = _tail(self.kernel_log.last_lines())
                self.trouble(
                    GuestTrouble(
                        "guest-kernel", f"the guest hangs: it said nothing for {silent:.1f} s while booting{tail}"
                    )
                )
                return
            await asyncio.sleep(min(limit - silent, 3600.0))

    def _close(self) -> None:
        self._leaving = True
        self._shell.close()
        self._shared.close()
        for console in self.consoles.values():
            console.close()
        self.kernel_log.finish()


@contextlib.asynccontextmanager
async def guest_over(
    streams: Streams,
    *,
    deadline: Deadline,
    tell: Tell = tell_nobody,
    directory: Path | None = None,
    quirks: Sequence[str] = (),
    silence: Silence | None = None,
) -> AsyncIterator[Guest]:
    """Talk to a guest over ``streams``; leaving closes them.

    ``directory`` takes the recordings of the consoles (ttyS0.log and ttyS0.cast, hvc0.*); they are complete when this
    ends, however it ends. ``quirks`` are regular expressions: a splat that holds one is told, and not counted."""
    async with contextlib.AsyncExitStack() as stack:
        recordings = {}
        if directory is not None:
            for name, file in (("kernel", "ttyS0"), ("shell", "hvc0")):
                if getattr(streams, name) is not None:
                    recordings[name] = await stack.enter_async_context(recorded(directory, file))
        guest = Guest(streams, deadline=deadline, tell=tell, quirks=quirks, silence=silence or Silence())
        stack.callback(guest._close)
        for name, recording in recordings.items():
            guest.consoles[name].listen(recording.write)
        yield guest


def _tail(lines: Sequence[str]) -> str:
    shown = lines if len(lines) <= 40 else [*lines[:30], "...", *lines[-9:]]
    return (":" + "".join(f"\n    | {line}" for line in shown)) if shown else ""
