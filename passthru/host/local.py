# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine as the host: a worker started as a child process, ended and waited for when the context is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, PassthruError, Unusable, WorkerLost
from passthru.events import Note, tell_nobody
from passthru.host.connection import Connection, discard
from passthru.host.events import WorkerEnded, WorkerStarted
from passthru.host.python import lean_command
from passthru.host.worker_host import WorkerHost
from passthru.worker.descriptors import above_standard
from passthru.worker.processes import kill_marked, mark_of
from passthru.worker.protocol import PROTOCOL
from passthru.worker.scratch import remove_if_stale, sweep
from passthru.worker.stream import FramedStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from passthru.events import Tell
    from passthru.host.host import Host
    from passthru.worker.stream import Message

# The worker kills and undoes within this time, or is killed itself. Its own bound for killing is 5 s.
END_SECONDS = 15.0
# A worker whose stream has ended is dead, or about to be.
_DEATH_SECONDS = 2.0
_STRAY_SECONDS = 5.0


@contextlib.asynccontextmanager
async def open_local_host(*, deadline: Deadline, tell: Tell = tell_nobody) -> AsyncIterator[Host]:
    """Start a worker on this machine; leaving the context ends it, and with it everything that it started.

    That takes at most END_SECONDS, cannot be cut short by cancellation, and happens by the worker itself where this
    process is killed. Raises Unusable when no worker can be started, DeadlineExceeded when it does not answer.
    """
    worker = LocalWorker(deadline, tell)
    try:
        await worker.greet()
        yield worker.host
    finally:
        await undisturbed(worker.end())


class LocalWorker:
    """The process of one worker and this side of its stream."""

    def __init__(self, deadline: Deadline, tell: Tell) -> None:
        """Start it. Raises Unusable."""
        self._tell = tell
        self._began = time.monotonic()
        self._scratch: str | None = None
        self._reason: str | None = None
        self._failed: tuple[str, ...] = ()
        self._said_goodbye = False
        self._burial: asyncio.Task[None] | None = None
        self.host = WorkerHost(deadline, tell)
        with contextlib.ExitStack() as cleanup:
            try:
                # What it says on standard error is told when it dies; memory, so that nobody needs to read it.
                self._words = above_standard(os.memfd_create("passthru-worker"))
                cleanup.callback(os.close, self._words)
                ours, theirs = (above_standard(end.detach()) for end in socket.socketpair())
                stream = FramedStream(ours)
                cleanup.callback(stream.close)
                try:
                    self._process = subprocess.Popen(
                        lean_command("passthru.worker", "--fd", str(theirs)),
                        stdin=subprocess.DEVNULL,
                        stdout=self._words,
                        stderr=self._words,
                        pass_fds=[theirs],
                        start_new_session=True,
                    )
                finally:
                    os.close(theirs)
                self._pidfd = above_standard(os.pidfd_open(self._process.pid))
            except OSError as error:
                raise Unusable(f"cannot start a worker process on this machine: {error}") from error
            cleanup.pop_all()
        self._exited = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pidfd, self._has_exited)
        self._connection = Connection(stream, on_event=self._take_event, on_end=self._stream_ended)

    async def greet(self) -> None:
        """Exchange versions. Raises Unusable when the worker could not start or is another version."""
        try:
            hello = await self.host.attach(self._connection)
        except WorkerLost as error:
            raise Unusable(f"the worker cannot start: {self._reason or error}") from error
        if hello["protocol"] != PROTOCOL:
            raise Unusable(
                f"the worker speaks version {hello['protocol']} of the protocol, not {PROTOCOL}; reinstall passthru"
            )
        self._scratch = hello["scratch"]
        seconds = time.monotonic() - self._began
        self._tell(WorkerStarted(hello["pid"], hello["scratch"], hello["kernel"], hello["python"], seconds))

    async def end(self) -> None:
        """End the worker, by force if need be, and wait for it; nothing of it is left afterwards."""
        began = time.monotonic()
        deadline = Deadline.after(END_SECONDS)
        try:
            try:
                with contextlib.suppress(WorkerLost):  # dead, or ending by itself
                    await self._connection.request("end", "the worker to end", deadline, self._take_goodbye)
                await self._wait_for_exit(deadline)
            except DeadlineExceeded as error:
                self._reason = f"it had to be killed: {error}"
                self._process.kill()
                self._stream_ended(self._reason)
            if self._burial:
                await self._burial
        finally:
            self._connection.close()
            self.host.close_streams()
            try:
                # It has exited, unless this was cut short; without its stream it ends by itself.
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            os.close(self._words)
        self._tell(WorkerEnded(self._process.pid, self._reason, self._failed, time.monotonic() - began))
        for failure in self._failed:
            self._tell(Note(f"the worker left something behind: {failure}"))

    def _take_goodbye(self, answer: Message, descriptors: list[int]) -> None:
        discard(answer, descriptors)
        self._failed = tuple(answer["failed"])
        self._said_goodbye = True

    def _take_event(self, event: Message) -> None:
        match event["event"]:
            case "exited" | "output" | "gone":
                self.host.take_event(event)
            case "ending":
                self._reason = event["reason"]
                self.host.lose(WorkerLost(f"the worker (process {self._process.pid}) ended: {self._reason}"))
            case "ended":
                self._failed = tuple(event["failed"])

    def _stream_ended(self, reason: str) -> None:
        """The worker's side of the stream is closed: as asked for, or because it dies."""
        if not self._said_goodbye and self._burial is None:
            self._burial = asyncio.ensure_future(self._bury(reason))

    async def _bury(self, reason: str) -> None:
        """Make sure that the worker is dead, tell why it died, and clean up what it could not."""
        with contextlib.suppress(DeadlineExceeded):
            await self._wait_for_exit(Deadline.after(_DEATH_SECONDS))
        if not self._exited.is_set():
            self._process.kill()
            with contextlib.suppress(DeadlineExceeded):
                await self._wait_for_exit(Deadline.after(_DEATH_SECONDS))
        self.host.lose(WorkerLost(f"the worker (process {self._process.pid}) was lost: {self._cause(reason)}"))
        if self._exited.is_set():
            await asyncio.to_thread(self._clean_up, self._scratch)

    def _clean_up(self, scratch: str | None) -> None:
        # Its children died with it (PR_SET_PDEATHSIG); theirs did not, nor did anybody remove the directory.
        if scratch is None:  # it died before it had told where that is
            sweep()
            return
        if not Path(scratch).exists():
            return
        left = kill_marked(mark_of(scratch), _STRAY_SECONDS)
        failed = [f"process {pid} could not be killed" for pid in left]
        try:
            remove_if_stale(scratch)
        except OSError as error:
            failed.append(f"could not remove {scratch}: {error.strerror}")
        self._failed += tuple(failed)

    def _cause(self, reason: str) -> str:
        """Why the worker died, from what is known."""
        if self._reason:
            return self._reason
        status = self._process.poll()
        words = self._last_words()
        if status is not None and status < 0:
            cause = f"it was killed by {signal.Signals(-status).name}"
        else:
            cause = reason if status is None else f"it exited with status {status}"
        return f"{cause}; it last said: {words}" if words else cause

    def _last_words(self) -> str:
        size = os.fstat(self._words).st_size
        text = os.pread(self._words, 4096, max(0, size - 4096)).decode(errors="replace")
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

    def _has_exited(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._exited.set()

    async def _wait_for_exit(self, deadline: Deadline) -> None:
        async with deadline.waiting_for(f"the worker (process {self._process.pid}) to exit"):
            await self._exited.wait()


async def undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end although the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancellation = error
        except PassthruError:
            break
    task.result()
    if cancellation:
        raise cancellation
