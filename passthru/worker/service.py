# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker's life: serve requests until the stream, a signal, the deadline or a request ends it; undo; exit."""

from __future__ import annotations

import os
import select
import selectors
import signal
import sys
import time

from passthru.worker.children import Children
from passthru.worker.devices import NAMES, Devices
from passthru.worker.listening import Awaited, Listeners, listens
from passthru.worker.placeholders import replaced
from passthru.worker.prctl import adopt_orphans
from passthru.worker.protocol import INTERNAL, PROTOCOL, REQUEST, UNUSABLE, RequestError
from passthru.worker.scratch import make_scratch, sweep
from passthru.worker.signals import ENDING, SignalWatch
from passthru.worker.stream import FramedStream, FrameError, framed
from passthru.worker.undo import UndoStack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from passthru.worker.devices.system import System
    from passthru.worker.outputs import Outputs
    from passthru.worker.ports import Relays
    from passthru.worker.scratch import Scratch
    from passthru.worker.stream import Message

    Answer = tuple[Message, list[int]]

# How long the last words may wait for a controlling side that does not read.
_LAST_WORDS_SECONDS = 1.0
# epoll_wait takes milliseconds in an int; a longer deadline is slept through in parts.
_LONGEST_SLEEP = 3600.0


class Worker:
    """Serves one stream. An operation is a method that takes the request and answers; a table names them."""

    def __init__(self, stream: FramedStream, signals: SignalWatch, scratch: Scratch, devices: Devices) -> None:
        self._stream = stream
        self._signals = signals
        self._scratch = scratch
        self._ends_at: float | None = None
        self.ending_request: object = None  # the id of the request to end
        self.children = Children(scratch)
        # Only in a rig, where the streams of children leave by ports; a local worker does without those modules.
        self.relays: Relays | None = None
        self.outputs: Outputs | None = None
        self._operations: dict[str, Callable[[Message], Answer | None]] = {
            "hello": self._hello,
            "deadline": self._deadline,
            "start": self._start,
            "signal": self._signal,
            "kill": self._kill,
            "listening": self._listening,
            "watch": self._watch,
            **dict.fromkeys(NAMES, devices.answer),
        }
        self._awaited = Awaited()
        self._listeners = Listeners()
        self._to_watch: list[int] = []

    def serve(self) -> str | None:
        """Serve until something ends this worker; returns what did, None where it was asked for or the stream ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            selector.register(self._stream, selectors.EVENT_READ)
            while True:
                for late in (self._awaited, self.relays, self.outputs):
                    if late and late.fileno() >= 0 and late.fileno() not in selector.get_map():
                        selector.register(late, selectors.EVENT_READ)
                while self._to_watch:
                    selector.register(self._to_watch.pop(), selectors.EVENT_READ, self._listeners)
                watched = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._stream.wants_to_write else 0)
                selector.modify(self._stream, watched)
                limits = [left for left in (self._seconds_left(), self._awaited.seconds()) if left is not None]
                ready = selector.select(min((*limits, _LONGEST_SLEEP)) if limits else None)
                for key, _ in ready:
                    if key.data is self._listeners:
                        selector.unregister(key.fd)
                        if path := self._listeners.ended(key.fd):
                            self._stream.send({"event": "gone", "socket": path})
                if self.relays:
                    self.relays.pump()
                if self.outputs:
                    for event in self.outputs.take():
                        self._stream.send(event)
                signals = self._signals.take()
                if signal.SIGCHLD in signals:
                    for event in self.children.reap():
                        self.tell(event)
                if ending := signals.intersection(ENDING):
                    return f"it received {signal.Signals(min(ending)).name}"
                if self._seconds_left() == 0:
                    return "its deadline passed without a word from the controlling side"
                self._stream.flush()
                for number in self._awaited.done():
                    self._stream.send({"id": number, "ok": {"listening": True}})
                try:
                    for request, descriptors in self._stream.receive():
                        for fd in descriptors:
                            os.close(fd)  # no request takes any
                        if request.get("do") == "end":
                            self.ending_request = request.get("id")
                            return None
                        self._answer(request)
                except EOFError:
                    return None
                except FrameError as error:
                    return f"its stream is out of step: {error}"

    def tell(self, event: Message) -> None:
        """Tell an event of a child's, after all that it said itself."""
        if self.relays:
            self.relays.end(event["child"])
        if self.outputs:
            for printed in self.outputs.take(event["child"]):
                self._stream.send(printed)
        self._stream.send(event)

    def _seconds_left(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _answer(self, request: Message) -> None:
        number = request.get("id")
        descriptors: list[int] = []
        try:
            operation = self._operations.get(argument(request, "do", str))
            if operation is None:
                raise RequestError(
                    REQUEST, f"this worker cannot {request['do']!r}; it can {', '.join(self._operations)}"
                )
            answer = operation(request)
            if answer is None:
                return  # later
            result, descriptors = answer
            reply: Message = {"id": number, "ok": result}
        except RequestError as error:
            told = {"kind": error.kind, "message": str(error)}
            if error.capability:
                told["capability"] = error.capability
            reply = {"id": number, "error": told}
        except Exception as error:
            show_traceback()
            message = f"the worker failed at {request.get('do')!r}: {type(error).__name__}: {error}"
            reply = {"id": number, "error": {"kind": INTERNAL, "message": message}}
        self._stream.send(reply, descriptors)

    def _hello(self, request: Message) -> Answer:
        system = os.uname()
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            "kernel": f"{system.sysname} {system.release} {system.machine}",
            "scratch": self._scratch.path,
        }, []

    def _deadline(self, request: Message) -> Answer:
        seconds = argument(request, "seconds", (int, float, type(None)))
        self._ends_at = None if seconds is None else time.monotonic() + seconds
        return {}, []

    def _start(self, request: Message) -> Answer:
        argv = texts(request, "argv")
        if not argv:
            raise RequestError(REQUEST, "a child without argv: it needs at least a program")
        env = argument(request, "env", dict)
        if not all(isinstance(value, str) and "\0" not in key + value and "=" not in key for key, value in env.items()):
            raise RequestError(REQUEST, "env must map names without '=' to strings, both without zero bytes")
        streams, listens = texts(request, "streams"), texts(request, "listens")
        pipes = texts(request, "pipes") if "pipes" in request else []
        if any(len({*names}) < len(names) for names in (streams, pipes, listens)):
            raise RequestError(REQUEST, "two streams, pipes or listening sockets of a child have the same name")
        output = argument(request, "output", (str, type(None)))
        directory = argument(request, "directory", (str, type(None)))
        if "\0" in (output or "") + (directory or ""):
            raise RequestError(REQUEST, "the path of the output or the directory holds a zero byte")
        names = texts(request, "ports") if "ports" in request else None
        if names is not None and len(names) != len(streams) + len(pipes):
            raise RequestError(REQUEST, "a child needs as many ports as it has streams and pipes")
        ports = self._relayed().reserve(names) if names else []
        printed, printer = os.pipe() if request.get("tell_output") else (-1, -1)
        try:
            child, final, descriptors = self.children.start(
                argument(request, "name", str),
                argv,
                env,
                streams,
                pipes,
                listens,
                output if printer < 0 else printer,
                directory,
                texts(request, "makes") if "makes" in request else [],
            )
        except RequestError:
            if printed >= 0:
                os.close(printed)
            raise
        finally:
            if printer >= 0:
                os.close(printer)
        if printed >= 0:
            self._tell_output(child.number, printed)
        if names is not None:
            sockets = [(fd, fd) for fd in descriptors[: len(streams)]]
            pairs = descriptors[len(streams) :]
            self._relayed().connect(child.number, [*sockets, *zip(pairs[::2], pairs[1::2], strict=True)], ports)
            descriptors = []
        return {"child": child.number, "pid": child.pid, "argv": final}, descriptors

    def _relayed(self) -> Relays:
        if self.relays is None:
            from passthru.worker.ports import Relays

            self.relays = Relays()
        return self.relays

    def _tell_output(self, child: int, fd: int) -> None:
        if self.outputs is None:
            from passthru.worker.outputs import Outputs

            self.outputs = Outputs()
        self.outputs.add(child, fd)

    def _socket(self, request: Message) -> str:
        path = replaced(argument(request, "socket", str), {}, self._scratch.socket_path)
        if "\0" in path or not path.startswith("/"):
            raise RequestError(REQUEST, f"{path!r} is no absolute path of a socket")
        return path

    def _watch(self, request: Message) -> Answer:
        found = self._listeners.watch(self._socket(request))
        self._to_watch += found
        return {"processes": len(found)}, []

    def _listening(self, request: Message) -> Answer | None:
        path = self._socket(request)
        if not argument(request, "wait", bool):
            return {"listening": listens(path)}, []
        try:
            self._awaited.add(request.get("id"), path)
        except OSError as error:
            raise RequestError(
                UNUSABLE, f"nobody can listen at {path}: {error.filename}: {error.strerror}; make that directory"
            ) from error
        return None  # `serve` looks at once, and answers when it is so

    def _signal(self, request: Message) -> Answer:
        self.children.signal(argument(request, "child", int), argument(request, "signal", int))
        return {}, []

    def _kill(self, request: Message) -> Answer:
        number = argument(request, "child", int)
        self.children.kill(number)
        if self.relays:
            self.relays.end(number)
        return {}, []


def argument(request: Message, key: str, kinds: type | tuple[type, ...]) -> Any:
    """The argument ``key`` of a request, of one of the ``kinds``. Raises RequestError."""
    value = request.get(key)
    if not isinstance(value, kinds):
        raise RequestError(REQUEST, f"the request {request.get('do')!r} has a wrong or no argument {key!r}")
    return value


def texts(request: Message, key: str) -> list[str]:
    """The argument ``key`` of a request, a list of strings. Raises RequestError."""
    values: list[str] = argument(request, key, list)
    if not all(isinstance(value, str) and "\0" not in value for value in values):
        raise RequestError(REQUEST, f"the request {request.get('do')!r} needs strings without zero bytes in {key!r}")
    return values


def run_on_port(name: str, make_system: Callable[[], System] | None = None) -> int:
    """A whole worker on the virtio-serial port ``name``, inside a rig; see ``run``. Raises OSError: no such port."""
    from passthru.worker.ports import greet, open_port

    fd = open_port(name)
    greet(fd, framed({"event": "ready"}))
    return run(fd, make_system)


def run(fd: int, make_system: Callable[[], System] | None = None) -> int:
    """A whole worker on the stream ``fd``; the exit status is 0 when nothing remained, 1 when something did.

    ``make_system`` gives it another machine than this one to handle the devices of: tests have made ones.
    """
    leave_terminal()
    stream = FramedStream(fd)
    undo = UndoStack()
    worker = None
    reason: str | None = None
    failed: list[str] = []
    try:
        signals = SignalWatch()
        adopt_orphans()
        sweep()
        scratch = make_scratch()
        undo.push(f"making the scratch directory {scratch.path}", scratch.remove)
        devices = Devices(make_system)
        undo.push("preparing devices", devices.end)
        worker = Worker(stream, signals, scratch, devices)
        reason = worker.serve()
    except RequestError as error:
        reason = str(error)
    except Exception as error:
        show_traceback()
        reason = f"it failed: {type(error).__name__}: {error}"
    finally:
        if reason is not None:
            stream.send({"event": "ending", "reason": reason})
        # Children first: what they use cannot be given back while they live.
        if worker:
            failed += worker.children.end(worker.tell)
        failed += undo.run()
        if worker and worker.ending_request is not None:
            stream.send({"id": worker.ending_request, "ok": {"failed": failed}})
        else:
            stream.send({"event": "ended", "failed": failed})
        say_to_the_end(stream)
    return 1 if failed else 0


def say_to_the_end(stream: FramedStream) -> None:
    """Send what still waits, to a controlling side that reads soon, and close the stream."""
    end = time.monotonic() + _LAST_WORDS_SECONDS
    poll = select.poll()
    poll.register(stream, select.POLLOUT)
    while stream.wants_to_write and (left := end - time.monotonic()) > 0:
        poll.poll(left * 1000)
        stream.flush()
    stream.close()


def show_traceback() -> None:
    """Print the exception being handled to standard error, which the controlling side keeps."""
    sys.excepthook(*sys.exc_info())  # the traceback module would be a sixth of the start-up


def leave_terminal() -> None:
    """Be in a session of one's own: a terminal's Ctrl-C is the controlling side's, which decides."""
    try:
        os.setsid()
    except PermissionError:
        return  # the leader of a process group: whoever made that group saw to it
