# SPDX-License-Identifier: GPL-2.0-or-later
"""A host as its worker offers it: the children, their streams and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, PassthruError
from passthru.host.connection import retrieve
from passthru.host.events import ChildExited, ChildStarted
from passthru.host.host import Exit
from passthru.host.place import HERE
from passthru.host.wiring import close_streams

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.events import Tell
    from passthru.host.connection import Connection, Receiver
    from passthru.host.host import ChildSpec
    from passthru.host.place import Place
    from passthru.host.wiring import Wires
    from passthru.worker.stream import Message

# An answer takes milliseconds; starting a program from a slow disk may take longer. Stretched by the deadline's scale.
ANSWER_SECONDS = 30.0
# The worker's own deadline is for a controlling side that hangs: one that lives ends its run first.
GRACE_SECONDS = 10.0


class WorkerChild:
    """A child of a worker; see the protocol ``Child``."""

    def __init__(self, host: WorkerHost, spec: ChildSpec, wires: Wires, reply: Message, descriptors: list[int]) -> None:
        self._host = host
        self.wires = wires
        self.name = spec.name
        self.number: int = reply["child"]
        self.pid: int = reply["pid"]
        self.argv: tuple[str, ...] = tuple(reply["argv"])
        self.streams, self.pipes = wires.connect(descriptors)
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.exited.add_done_callback(retrieve)

    async def wait(self, deadline: Deadline = Deadline()) -> Exit:  # noqa: B008 (frozen)
        """How it exited. Raises DeadlineExceeded, WorkerLost."""
        async with deadline.waiting_for(f"{self.name} (process {self.pid}) to exit"):
            return await asyncio.shield(self.exited)

    async def signal(self, signum: int) -> None:
        """Send a signal to its whole process group; a child that has exited is left alone."""
        await self._host.ask_in_the_end("signal", f"to signal {self.name}", child=self.number, signal=int(signum))

    async def kill(self) -> Exit:
        """SIGKILL the child and everything that came of it; returns how the child exited."""
        await self._host.ask_in_the_end("kill", f"to kill {self.name}", child=self.number)
        return await self.wait(Deadline.after(ANSWER_SECONDS))

    async def stop(self, seconds: float = 2.0) -> Exit:
        """SIGTERM to the group, and ``kill`` after ``seconds``."""
        await self.signal(signal.SIGTERM)
        with contextlib.suppress(DeadlineExceeded):
            await self.wait(Deadline.after(seconds))
        return await self.kill()

    def close_streams(self) -> None:
        """Close the streams and pipes that are still open."""
        close_streams(self.streams, self.pipes)


class WorkerHost:
    """The children of one worker; see the protocol ``Host``.

    It is made before its connection, of which it handles the events.
    """

    def __init__(self, deadline: Deadline, tell: Tell, place: Place = HERE) -> None:
        """``place`` says how things are reached and called there."""
        self._place = place
        self._deadline = deadline
        self._tell = tell
        self._connection: Connection | None = None
        self._children: dict[int, WorkerChild] = {}
        self._gone: dict[str, asyncio.Future[None]] = {}
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost.add_done_callback(retrieve)

    async def attach(self, connection: Connection) -> Message:
        """Use this connection; returns the worker's answer to hello. Raises what a request raises."""
        self._connection = connection
        hello = await self.ask("hello", "to say hello")
        await self.set_deadline(self._deadline)
        return hello

    async def set_deadline(self, deadline: Deadline) -> None:
        """Replace the deadline of everything on this host."""
        self._deadline = deadline
        seconds = None if math.isinf(deadline.at) else deadline.remaining + GRACE_SECONDS
        await self.ask("deadline", "to take its deadline", seconds=seconds)

    async def start(self, spec: ChildSpec) -> WorkerChild:
        """Start a program. Raises Unusable, in one sentence, when it cannot be; then nothing of it is left."""
        wires = self._place.wiring.wires(spec)
        started: list[WorkerChild] = []
        abandoned = False

        def receive(reply: Message, descriptors: list[int]) -> None:
            child = WorkerChild(self, spec, wires, reply, descriptors)
            self._children[child.number] = child
            started.append(child)
            if abandoned:
                self._discard(child)
            else:
                self._tell(ChildStarted(child.name, child.pid, child.argv))

        try:
            await self.ask(
                "start",
                f"to start {spec.name}",
                receive,
                name=spec.name,
                argv=list(spec.argv),
                env=dict(spec.env),
                streams=list(spec.streams),
                pipes=list(spec.pipes),
                listens=list(spec.listens),
                makes=[str(path) for path in spec.makes],
                directory=None if spec.directory is None else str(spec.directory.absolute()),
                **wires.arguments(),
            )
        except BaseException:
            # Cancelled or too late: the program may be running by now, or will be in a moment.
            abandoned = True
            for child in started:
                self._discard(child)
            if not started:
                wires.ended()
            raise
        return started[0]

    async def is_listening(self, socket: str) -> bool:
        """Whether somebody listens at a UNIX socket, given as its absolute path or as ``{socket:NAME}``."""
        answer = await self.ask("listening", "to look at a socket", socket=socket, wait=False)
        return bool(answer["listening"])

    async def listening(self, socket: str, who: str, deadline: Deadline) -> None:
        """Wait until ``who`` listens at a socket. Raises DeadlineExceeded, and Unusable where nobody ever can."""
        if self._connection is None:
            raise PassthruError("asked a worker to look at a socket that is not connected yet")
        where = "its socket" if socket.startswith("{") else socket
        await self._connection.request("listening", f"{who} to listen at {where}", deadline, socket=socket, wait=True)

    async def ask(self, do: str, what: str, receive: Receiver | None = None, **arguments: object) -> Message:
        """Ask the worker ``what`` ("to start qemu"), within the host's deadline. Raises what a request raises."""
        return await self._ask(self._deadline.narrowed(ANSWER_SECONDS), do, what, receive, **arguments)

    async def ask_in_the_end(self, do: str, what: str, **arguments: object) -> Message:
        """Ask for what belongs to ending things, which must work once the host's deadline has passed."""
        return await self._ask(Deadline.after(ANSWER_SECONDS), do, what, None, **arguments)

    async def _ask(
        self, deadline: Deadline, do: str, what: str, receive: Receiver | None, **arguments: object
    ) -> Message:
        if self._connection is None:
            raise PassthruError(f"asked a worker {what} that is not connected yet")
        return await self._connection.request(do, f"the worker {what}", deadline, receive, **arguments)

    async def watch_listener(self, socket: str) -> asyncio.Future[None] | None:
        """Done when whoever listens at ``socket``, an absolute path, has ended; None where that cannot be seen."""
        gone = self._gone.setdefault(socket, asyncio.get_running_loop().create_future())
        answer = await self.ask("watch", "to watch a socket", socket=socket)
        return gone if answer["processes"] else None

    def path_of(self, path: Path) -> str:
        """Where a file of this machine is on the host; see the protocol ``Host``."""
        return self._place.path_of(path)

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a module of passthru there; see the protocol ``Host``."""
        return self._place.own_command(module, *arguments)

    def take_event(self, event: Message) -> None:
        """An event of the worker that tells of its children, or of those that it watches."""
        if event["event"] == "gone":
            if not (gone := self._gone[event["socket"]]).done():
                gone.set_result(None)
            return
        child = self._children.get(event["child"])
        if child is None:
            return
        if event["event"] == "output":
            child.wires.printed(event["data"])
            return
        child.wires.ended()
        end = Exit(event.get("code"), event.get("signal"), event["cpu"])
        self._tell(ChildExited(child.name, child.pid, end.code, end.signal, end.cpu))
        if not child.exited.done():
            child.exited.set_result(end)

    def lose(self, error: PassthruError) -> None:
        """The worker has gone: whoever waits for it or for a child learns that, at once."""
        for child in self._children.values():
            if not child.exited.done():
                child.wires.ended()
                child.exited.set_exception(error)
        if not self.lost.done():
            self.lost.set_exception(error)
        if self._connection:
            self._connection.fail(error)

    def close_streams(self) -> None:
        """Close the streams that nobody closed."""
        for child in self._children.values():
            child.close_streams()

    def _discard(self, child: WorkerChild) -> None:
        child.close_streams()
        if self._connection:
            self._connection.post("kill", child=child.number)
