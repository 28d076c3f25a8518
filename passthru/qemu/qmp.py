# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP over a socket that is already connected: commands with deadlines, events as they come, a transcript of it all.

A thin layer over the qemu.qmp library, whose own event listeners never end when the connection does; these do.
Protocol: QEMU's docs/interop/qmp-spec.rst; events: docs/interop/qemu-qmp-ref.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError, Runstate

from passthru.errors import GuestTrouble, PassthruError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from pathlib import Path

    from qemu.qmp.message import Message

    from passthru.deadline import Deadline

CONNECT_SECONDS = 30.0
EXECUTE_SECONDS = 30.0
CLOSE_SECONDS = 5.0

# The library logs what it also raises; without a handler of its own that would reach the terminal.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class QmpEvent:
    """One event of QEMU: SHUTDOWN, RESET, STOP, GUEST_PANICKED, DEVICE_DELETED, ...

    ``data`` is its own; ``seconds`` is QEMU's clock (since the epoch), nan if it gave none.
    """

    name: str
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float = float("nan")


class QmpRefused(PassthruError):
    """QEMU answered a command with an error; ``error_class`` and ``description`` are QEMU's own."""

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"QEMU refused the command {command}: {description}")
        self.command = command
        self.error_class = error_class
        self.description = description


class Qmp:
    """A session with one QEMU; made by ``connected``."""

    def __init__(self, client: _Client, name: str, deadline: Deadline) -> None:
        self._client = client
        self.name = name
        self._deadline = deadline
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when QEMU has closed the connection; not done when this side closes it."""

    @property
    def seen(self) -> tuple[QmpEvent, ...]:
        """All events so far."""
        return tuple(self._client.seen)

    def watch(self, callback: Callable[[QmpEvent], None]) -> Callable[[], None]:
        """Have each later event given to ``callback`` at once; returns what ends that."""
        self._client.watchers.append(callback)
        return lambda: self._client.watchers.remove(callback)

    async def events(self) -> AsyncIterator[QmpEvent]:
        """The events from now on; ends when the connection does."""
        queue: asyncio.Queue[QmpEvent | None] = asyncio.Queue()

        def end(_: object) -> None:
            queue.put_nowait(None)

        unwatch = self.watch(queue.put_nowait)
        self.ended.add_done_callback(end)
        try:
            while event := await queue.get():
                yield event
        finally:
            self.ended.remove_done_callback(end)
            unwatch()

    async def wait_for(
        self, names: Collection[str], deadline: Deadline, where: Callable[[QmpEvent], bool] = lambda _: True
    ) -> QmpEvent:
        """The next event of one of these names that ``where`` accepts. Raises DeadlineExceeded, GuestTrouble."""
        found: asyncio.Future[QmpEvent] = asyncio.get_running_loop().create_future()

        def look(event: QmpEvent) -> None:
            if event.name in names and where(event) and not found.done():
                found.set_result(event)

        awaited = f"{' or '.join(names)} of {self.name}"
        unwatch = self.watch(look)
        try:
            async with deadline.waiting_for(awaited):
                await asyncio.wait((found, self.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            unwatch()
        if not found.done():
            raise GuestTrouble("qemu", f"{self.ended.result()}, before {awaited}")
        return found.result()

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, deadline: Deadline | None = None
    ) -> Any:
        """QEMU's answer to a command. Raises QmpRefused, GuestTrouble (QEMU has gone), DeadlineExceeded."""
        within = deadline or self._deadline.narrowed(EXECUTE_SECONDS)
        async with within.waiting_for(f"the answer of {self.name} to the QMP command {command}"):
            try:
                return await self._client.execute(command, arguments)
            except ExecuteError as error:
                raise QmpRefused(command, error.error_class, str(error)) from error
            except QMPError as error:  # also of a connection that has ended before
                raise GuestTrouble("qemu", f"{self.name} has no QMP connection any more, asked to {command}") from error


class _Client(QMPClient):
    """The library's client, with each message written down and each event handed on before anything else sees it."""

    def __init__(self, name: str, transcript: TextIO | None) -> None:
        super().__init__(name)
        self._transcript = transcript
        self._began = time.monotonic()
        self.watchers: list[Callable[[QmpEvent], None]] = []
        self.seen: list[QmpEvent] = []

    def write_down(self, sign: str, text: str) -> None:
        if self._transcript:
            self._transcript.write(f"{time.monotonic() - self._began:9.4f} {sign} {text}\n")
            self._transcript.flush()

    def _cb_outbound(self, msg: Message) -> Message:
        self.write_down("-->", json.dumps(dict(msg)))
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        self.write_down("<--", json.dumps(dict(msg)))
        if "event" in msg:
            event = _event(dict(msg))
            self.seen.append(event)
            for watcher in tuple(self.watchers):
                watcher(event)
        return msg


@contextlib.asynccontextmanager
async def connected(
    stream: socket.socket, *, deadline: Deadline, name: str = "QEMU", transcript: Path | None = None
) -> AsyncIterator[Qmp]:
    """A session over a connected stream socket, whose other end is a QMP monitor of QEMU (``-qmp chardev:...``).

    Takes over ``stream`` and closes it in the end. ``deadline`` bounds the connecting and each command; ``name`` is
    what errors call this QEMU. Raises GuestTrouble when what is there speaks no QMP, DeadlineExceeded when it is
    silent, OSError when the transcript cannot be written.
    """
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(stream.close)
        file = cleanup.enter_context(transcript.open("a", encoding="utf-8")) if transcript else None
        client = _Client(name, file)
        try:
            async with deadline.narrowed(CONNECT_SECONDS).waiting_for(f"the QMP greeting of {name}"):
                await client.connect(stream)
        except ConnectError as error:
            raise GuestTrouble("qemu", f"{name} did not open its QMP session: {_reason(error.exc)}") from error
        session = Qmp(client, name, deadline)
        end = asyncio.create_task(_notice_the_end(client, session))
        try:
            yield session
        finally:
            if client.runstate is Runstate.RUNNING:
                end.cancel()
            # Else it disconnects by itself: cancelled there, the library leaves an error behind that nobody takes.
            await asyncio.wait((end,), timeout=CLOSE_SECONDS)
            end.cancel()
            if client.runstate is not Runstate.IDLE:
                with contextlib.suppress(Exception):  # it has to end; why it did is told already
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await client.disconnect()


def _event(message: Mapping[str, Any]) -> QmpEvent:
    stamp = message.get("timestamp", {})
    seconds = stamp.get("seconds", float("nan")) + stamp.get("microseconds", 0) / 1e6
    return QmpEvent(message["event"], MappingProxyType(message.get("data", {})), seconds)


async def _notice_the_end(client: _Client, session: Qmp) -> None:
    while client.runstate is Runstate.RUNNING:
        await client.runstate_changed()
    why = ""
    try:
        await client.disconnect()
    except EOFError:
        pass
    except Exception as error:  # what the library's reader met: the stream's error, or no QMP
        why = f": {_reason(error)}"
    session.ended.set_result(f"{session.name} ended its QMP connection{why}")


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it closed the connection"
    return str(error).strip().partition("\n")[0] or type(error).__name__
