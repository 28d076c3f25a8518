# SPDX-License-Identifier: GPL-2.0-or-later
"""The controlling side of a worker's stream: requests matched with replies, events passed on, its end noticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from passthru.errors import MissingCapability, PassthruError, Unusable, UserMistake, WorkerLost
from passthru.worker import protocol
from passthru.worker.stream import FramedStream, FrameError, close_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.deadline import Deadline
    from passthru.worker.stream import Message

    Receiver = Callable[[Message, list[int]], None]


class Connection:
    """One worker's stream, read by the running event loop."""

    def __init__(
        self, stream: FramedStream, *, on_event: Callable[[Message], None], on_end: Callable[[str], None]
    ) -> None:
        """Takes over ``stream``.

        ``on_event`` gets each event; ``on_end`` is called once, with a reason, when the other side has ended the
        stream. Whoever made the connection then says what that means, by ``fail``.
        """
        self._stream = stream
        self._fd = stream.fileno()
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self._on_end = on_end
        self._number = 0
        self._waiting: dict[int, tuple[asyncio.Future[Message], Receiver]] = {}
        self._error: PassthruError | None = None
        self._open = True
        self._loop.add_reader(self._fd, self._readable)

    async def request(
        self, do: str, awaited: str, deadline: Deadline, receive: Receiver | None = None, **arguments: object
    ) -> Message:
        """Send a request and wait for its reply. ``awaited`` is what a DeadlineExceeded says was waited for.

        ``receive`` gets the reply and its descriptors the moment it arrives, before any later event, and even when
        the caller has been cancelled since; without it the descriptors are closed. Raises WorkerLost, Unusable for
        what the worker cannot do on its machine, PassthruError for any other error it answers.
        """
        future = self.post(do, receive, **arguments)
        async with deadline.waiting_for(awaited):
            return await future

    def post(self, do: str, receive: Receiver | None = None, **arguments: object) -> asyncio.Future[Message]:
        """Send a request; the future is its reply, which nobody has to wait for."""
        future: asyncio.Future[Message] = self._loop.create_future()
        future.add_done_callback(retrieve)
        self._number += 1
        if self._error or not self._open:
            future.set_exception(self._error or WorkerLost("the worker has ended"))
            return future
        try:
            self._stream.send({"id": self._number, "do": do, **arguments})
        except FrameError as error:
            future.set_exception(PassthruError(f"cannot ask the worker to {do}: {error}"))
            return future
        self._waiting[self._number] = (future, receive or discard)
        self._watch_writing()
        return future

    def fail(self, error: PassthruError) -> None:
        """End every request, waiting or to come, with ``error``; the first one counts."""
        self._error = self._error or error
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(self._error)
        self._waiting.clear()

    def close(self) -> None:
        """Close the stream, by which the worker ends; requests that wait fail with WorkerLost."""
        self._stop_watching()
        self._stream.close()
        self.fail(WorkerLost("the worker has ended"))

    def _readable(self) -> None:
        try:
            messages = self._stream.receive()
        except EOFError as error:
            self._ended(str(error))
        except FrameError as error:
            self._ended(f"its stream is unusable: {error}")
        else:
            for message, descriptors in messages:
                self._take(message, descriptors)

    def _writable(self) -> None:
        self._stream.flush()
        self._watch_writing()

    def _watch_writing(self) -> None:
        if self._open and self._stream.wants_to_write:
            self._loop.add_writer(self._fd, self._writable)
        elif self._open:
            self._loop.remove_writer(self._fd)

    def _ended(self, reason: str) -> None:
        self._stop_watching()
        self._on_end(reason)

    def _stop_watching(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)

    def _take(self, message: Message, descriptors: list[int]) -> None:
        if "event" in message:
            close_all(descriptors)
            self._on_event(message)
            return
        future, receive = self._waiting.pop(message.get("id", 0), (None, discard))
        if "ok" in message:
            receive(message["ok"], descriptors)
            if future and not future.done():
                future.set_result(message["ok"])
        else:
            close_all(descriptors)
            if future and not future.done():
                error = message.get("error", {})
                words = error.get("message", "the worker gave no reason")
                future.set_exception(raised_as(error.get("kind"), words, error.get("capability", "")))


def raised_as(kind: object, words: str, capability: str = "") -> PassthruError:
    """What is raised for a kind of errors of the worker's protocol."""
    match kind:
        case protocol.UNUSABLE:
            return Unusable(words)
        case protocol.MISTAKE:
            return UserMistake(words)
        case protocol.MISSING:
            return MissingCapability(capability, words)
        case _:
            return PassthruError(words)


def discard(message: Message, descriptors: list[int]) -> None:
    """A receiver that wants no descriptors."""
    close_all(descriptors)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Mark a future's exception as seen: it is told elsewhere too, and asyncio would print it as never retrieved."""
    if not future.cancelled():
        future.exception()
