# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands to a device server and its replies, each checked and each within a time limit.

One command is under way at a time, but for `Exchange.ask_all`. The server's own commands are answered while a reply is
awaited and by `Exchange.wait_readable`. What the server must not do ends the connection: it is given up, and each later
call says why.
"""

from __future__ import annotations

import array
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from passthru.vfio import user_messages as user
from passthru.vfio.user import served
from passthru.vfio.user.errors import LARGEST_ERRNO, GivenUp, ProtocolError, Refused, refusal
from passthru.vfio.user.incoming import Incoming, Receiver
from passthru.vfio.user.memory import ServedMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from passthru.vfio.transcript import Transcript

TIME_LIMIT = 5.0  # seconds for a reply; what QEMU gives a server by default
LONGEST_MESSAGE = served.LONGEST + 4096  # the data that we take, and any structure before them

_WITH_DESCRIPTORS = (
    user.VFIO_USER_VERSION,
    user.VFIO_USER_DEVICE_GET_REGION_INFO,
    user.VFIO_USER_DEVICE_GET_REGION_IO_FDS,
)
"""Commands whose replies can have descriptors."""
_BATCH = 32 << 10  # bytes of commands that any socket takes while their replies wait unread


class Answer(NamedTuple):
    """What came of a command; ``descriptors`` are the caller's to close."""

    payload: bytes
    descriptors: list[int]


class Exchange:
    """A connected stream socket, which is the connection's from now on; VERSION is not yet agreed upon."""

    serves_while_waiting = True
    """False leaves the server's commands until the reply came, as a VMM does that holds a lock meanwhile."""

    def __init__(self, connection: socket.socket, transcript: Transcript, time_limit: float = TIME_LIMIT) -> None:
        self.time_limit = time_limit
        self.transcript = transcript
        self.memory = ServedMemory()
        self._socket = connection
        self._note = transcript.note
        self._receiver = Receiver(connection, LONGEST_MESSAGE)
        self._id = 0
        self._given_up = False
        self._waiting: list[Incoming] = []  # commands of the server, where they are left until later
        # Short accesses (`connection`) block in the kernel, with its time limit: a system call less than with a poll.
        connection.settimeout(None)
        limit = struct.pack("@ll", int(time_limit), int(time_limit % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._send: Callable[[bytes], int] = connection.send
        self._receive = connection.recv

    def post(self, command: int, payload: bytes) -> None:
        """Send a command that wants no reply. Raises as `ask`."""
        self._note((f"{name_of(command)} without a reply", payload))
        self._transmit(command, payload, (), user.NO_REPLY)

    def ask(self, command: int, payload: bytes = b"", descriptors: Sequence[int] = ()) -> Answer:
        """A command and its reply.

        Raises OSError with the errno that it was refused with (`Refused`), TimeoutError where no reply came within the
        time limit, ConnectionError where the server is gone, and `ProtocolError`.
        """
        name = name_of(command)
        try:
            answer = self._finish(self._transmit(command, payload, descriptors), command, name)
        except Refused as error:
            self._note((name, payload, *_named(descriptors), error))
            raise refusal(error.errno or 0, _with_fields(name, payload)) from None
        except OSError as error:
            self._note((name, payload, *_named(descriptors), error))
            raise
        self._note((name, payload, *_named(descriptors), "->", answer.payload))
        return answer

    def ask_all(self, commands: Iterable[tuple[int, bytes]]) -> list[Answer | Refused]:
        """Commands one behind the other, and their replies, which must come in the same order. Raises as `ask`."""
        answers: list[Answer | Refused] = []
        batch: list[tuple[int, bytes]] = []
        length = 0
        for command, payload in commands:
            if batch and length + len(payload) + user.HEADER.size > _BATCH:
                answers += self._batch(batch)
                batch, length = [], 0
            batch.append((command, payload))
            length += len(payload) + user.HEADER.size
        return answers + self._batch(batch)

    def send_raw(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send bytes as they stand. For what no client should send."""
        self._note(("bytes sent as they stand", message, *_named(descriptors)))
        self._send_whole(message, descriptors, "a message")

    def receive_raw(self) -> Incoming:
        """The next reply, whatever it answers; its descriptors are the caller's. Raises as `ask`."""
        message = self._receive_reply("a message", time.monotonic() + self.time_limit)
        self._note(("came", str(message)))
        return message

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """Wait for a descriptor to be readable and answer the server meanwhile; False where ``seconds`` went by.

        Raises as `ask`, for the server may leave.
        """
        self._send(b"")  # nothing, but for what the connection was given up for
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        deadline = time.monotonic() + seconds
        self._serve_waiting()
        while True:
            ready = [number for number, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]
            if descriptor in ready:
                return True
            if not ready:
                return False
            self._serve_one()

    def close(self) -> None:
        """Leave; again, nothing happens."""
        self._give_up(ConnectionError("the connection to the device server was closed by us"))

    def _transmit(self, command: int, payload: bytes, descriptors: Sequence[int] = (), flags: int = 0) -> int:
        self._id = message_id = self._id + 1 & 0xFFFF
        name = name_of(command)
        self._send_whole(user.command(message_id, command, payload, flags), descriptors, name)
        return message_id

    def _send_whole(self, message: bytes, descriptors: Sequence[int], name: str) -> None:
        deadline = time.monotonic() + self.time_limit
        try:
            if descriptors:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
                self._send(b"")  # nothing, but for what the connection was given up for
                sent = self._socket.sendmsg([message], rights)
            else:
                sent = self._send(message)
            while sent < len(message):
                if time.monotonic() > deadline:
                    raise BlockingIOError
                sent += self._send(message[sent:])
        except BlockingIOError:
            self._end(TimeoutError(f"the device server did not take {name} within {self.time_limit:g} s"))
        except OSError as error:
            self._lost(error, name)

    def _finish(self, message_id: int, command: int, name: str) -> Answer:
        """Await the reply to a command, and serve what was left until then."""
        answer = self._checked(message_id, command, self._receive_reply(name, time.monotonic() + self.time_limit))
        self._serve_waiting()
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _batch(self, batch: Sequence[tuple[int, bytes]]) -> list[Answer | Refused]:
        if not batch:
            return []
        first = self._id + 1
        numbered = [(first + number & 0xFFFF, *each) for number, each in enumerate(batch)]
        self._id = numbered[-1][0]
        self._send_whole(b"".join(user.command(*each) for each in numbered), (), f"{len(batch)} commands")
        answers = []
        for message_id, command, payload in numbered:
            name = name_of(command)
            reply = self._receive_reply(name, time.monotonic() + self.time_limit)
            answers.append(answer := self._checked(message_id, command, reply))
            self._note(
                (
                    f"{name} among several",
                    payload,
                    *((answer,) if isinstance(answer, Refused) else ("->", answer.payload)),
                )
            )
        self._serve_waiting()
        return answers

    def _receive_reply(self, name: str, deadline: float) -> Incoming:
        """The next message that is a reply; commands of the server are answered, or left."""
        while True:
            message = self._next(name, deadline)
            if message.flags & user.TYPE_MASK != user.TYPE_COMMAND:
                return message
            if self.serves_while_waiting:
                self._serve(message)
            else:
                self._waiting.append(message)

    def _next(self, name: str, deadline: float) -> Incoming:
        try:
            return self._receiver.next(deadline)
        except OSError as error:
            self._lost(error, name)

    def _checked(self, message_id: int, command: int, reply: Incoming) -> Answer | Refused:
        """A reply as what it says; raises ProtocolError where it cannot be the one to this command."""
        name = name_of(command)
        failed = reply.flags & user.ERROR
        if (
            (reply.message_id, reply.command) != (message_id, command)
            or reply.flags & ~user.ERROR != user.TYPE_REPLY
            or (reply.descriptors and command not in _WITH_DESCRIPTORS)
            or (not failed and reply.error)
            or (failed and (reply.payload or reply.descriptors or reply.error > LARGEST_ERRNO))
        ):
            sentence = f"{name} with id {message_id} was answered with {reply}"
            reply.close()
            self._broken(sentence)
        if failed:
            return refusal(reply.error, name)
        return Answer(reply.payload, reply.descriptors)

    def _serve_one(self) -> None:
        message = self._next("a command of it", time.monotonic() + self.time_limit)
        if message.flags & user.TYPE_MASK != user.TYPE_COMMAND:
            message.close()
            self._broken(f"nothing was asked, and there came {message}")
        self._serve(message)

    def _serve_waiting(self) -> None:
        while self._waiting:
            self._serve(self._waiting.pop(0))

    def _serve(self, message: Incoming) -> None:
        message.close()
        try:
            reply = served.answer(self.memory, message.message_id, message.command, message.payload)
        except ProtocolError as error:
            self._give_up(error)
            raise
        self._note((f"the server's {message.name}", message.payload, "->", reply[user.HEADER.size :]))
        if not message.flags & user.NO_REPLY:
            self._send_whole(reply, (), f"the reply to {message.name}")

    def _lost(self, error: OSError, name: str) -> NoReturn:
        """What a system call said of the connection, in words; raises it, and the connection is given up."""
        known: OSError
        if isinstance(error, (TimeoutError, BlockingIOError)):
            detail = f" ({error})" if isinstance(error, TimeoutError) else ""
            known = TimeoutError(f"the device server did not answer {name} within {self.time_limit:g} s{detail}")
        elif isinstance(error, (ProtocolError, GivenUp)):
            known = error
        elif isinstance(error, ConnectionError):
            known = ConnectionResetError(f"the device server closed the connection while {name} was under way")
        else:
            raise error
        self._end(known)

    def _broken(self, sentence: str) -> NoReturn:
        self._end(ProtocolError(sentence))

    def _end(self, error: OSError) -> NoReturn:
        self._give_up(error)
        raise error from None

    def _give_up(self, reason: OSError) -> None:
        if self._given_up:
            return
        self._given_up = True

        def refuse(data: bytes) -> int:
            raise GivenUp(f"the connection was given up: {reason}")

        self._send = refuse
        for message in self._waiting:
            message.close()
        self._waiting.clear()
        self.memory.clear()
        self._socket.close()


def _named(descriptors: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"descriptor {descriptor}" for descriptor in descriptors)


def name_of(command: int) -> str:
    """A command's name, as the specification has it."""
    return user.COMMAND_NAMES.get(command, f"command {command}")


def _with_fields(name: str, payload: bytes) -> str:
    from passthru.vfio.structure_fields import named_fields

    fields, _ = named_fields(name, payload)
    return f"{name} with {fields}" if fields else name
