# SPDX-License-Identifier: GPL-2.0-or-later
"""One vfio-user connection: a plain blocking loop, lean where guests wait (REGION_READ, REGION_WRITE).

A command is answered before the next is looked at. Work that a model defers runs between two messages; only there
may DMA messages of ours be waited for, and the client's commands are served meanwhile: QEMU answers DMA under the
lock that its vCPU holds while it waits for us.

A client may be hostile. What it sends is answered, by an errno where it is wrong, or ends the connection; what it does
not do (read our replies, answer our messages) is waited for with a deadline; nothing that it chooses the size of is
kept. Only silence may last for ever, as that of a guest does.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from typing import TYPE_CHECKING

from passthru.emulation.complaints import Complaints
from passthru.emulation.dma import MappedMemory
from passthru.emulation.vfio_user import commands
from passthru.emulation.vfio_user.dma_messages import DmaMessages
from passthru.emulation.vfio_user.exchange import LOST, Exchange
from passthru.emulation.vfio_user.sending import Sender, Unresponsive
from passthru.emulation.vfio_user.stream import (
    ANCILLARY_SPACE,
    CHUNK,
    Malformed,
    Message,
    Stream,
    received_descriptors,
)
from passthru.vfio import user_messages as user
from passthru.vfio.linux_vfio import VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE
from passthru.vfio.trace import CONNECTED, DISCONNECTED, FROM_CLIENT, FROM_SERVER, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.emulation.model import AddressSpace, Model

MOST_DEFERRED = 256  # pieces of work; a client can go on with commands that defer some while it owes us an answer
_FRAME = user.REGION_MESSAGE.size  # header and region access
_LONGEST_TRANSFER = commands.OURS.max_data_xfer_size
_SHORT_TRANSFER = 4096  # goes into a socket at once, whatever signals come
_READ = user.VFIO_USER_REGION_READ
_WRITE = user.VFIO_USER_REGION_WRITE


class Session:
    """Serves ``model`` to the client behind ``connection`` (a blocking stream socket); is the model's `Plug`."""

    def __init__(self, connection: socket.socket, model: Model, trace: TraceWriter | None = None) -> None:
        self._connection = connection
        self._model = model
        self._trace = trace
        self._complaints = Complaints()
        self._sender = Sender(connection)
        self._stream = Stream()
        self._buffer = bytearray(CHUNK)
        self._deferred: deque[Callable[[], None]] = deque()
        self._watched: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._exchange = Exchange(
            connection, self._stream, send=self._send, serve=self._serve_message, received=self._trace_message
        )
        messages = DmaMessages(self._exchange.ask, lambda: self._state.client.max_data_xfer_size)
        self._memory = MappedMemory(messages, shared=model.maps_memory)
        self._state = commands.State(model, self._memory, self._write)
        # The greatest end of an access and the function for it, by region; -1 where the region does not take it.
        self._readers = [
            (region.extent if region.flags & VFIO_REGION_INFO_FLAG_READ else -1, region.read)
            for region in model.regions
        ]
        self._writers = [
            (region.extent if region.flags & VFIO_REGION_INFO_FLAG_WRITE else -1, region.write)
            for region in model.regions
        ]

    @property
    def dma(self) -> AddressSpace:
        return self._memory

    def stream(self, number: int) -> AddressSpace:
        return self._memory

    def defer(self, work: Callable[[], None]) -> None:
        if len(self._deferred) >= MOST_DEFERRED:
            raise OSError(errno.EBUSY, f"{MOST_DEFERRED} pieces of work wait already")
        self._deferred.append(work)

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        self._watched[descriptor] = work
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def run(self) -> None:
        """Serve until the client leaves; what it brought is given back, the model keeps its state."""
        self._connection.settimeout(None)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # else it looks readable and is not
        self._poll.register(self._connection, select.POLLIN)
        if self._trace:
            self._trace.message(CONNECTED, b"")
        try:
            self._model.plugged(self)
            self._serve()
        except Exception as error:
            self._tell_end(error)
        finally:
            self._give_back()

    def _tell_end(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if not isinstance(error, (OSError, Malformed, Unresponsive)):
            self._complaints.mistake(error)
            reason = f"the device server made a mistake: {reason}"
        if not isinstance(error, ConnectionError):
            self._complaints.say(f"the client is disconnected: {reason}")
        if self._trace:
            self._trace.note(f"disconnected: {reason}")

    def _give_back(self) -> None:
        try:
            self._model.unplugged()
        except Exception as error:
            self._complaints.mistake(error)
        self._memory.clear()
        self._stream.close()
        self._deferred.clear()
        if self._trace:
            self._trace.message(DISCONNECTED, b"")
            self._trace.flush()

    def _serve(self) -> None:
        # Guests wait in this loop, so it is written out and keeps what it needs in local names: a lone REGION_READ
        # costs two system calls and little else. All other messages go by `_serve_chunk`.
        receive, send, buffer = self._connection.recvmsg_into, self._connection.send, self._buffer
        receive_flags, send_flags = socket.MSG_CMSG_CLOEXEC, socket.MSG_DONTWAIT
        buffers = [buffer]
        unpack, pack, read_id, frame = user.REGION_MESSAGE.unpack_from, user.REGION_MESSAGE.pack, _READ, _FRAME
        readers, deferred, watched, trace = self._readers, self._deferred, self._watched, self._trace
        regions, short = len(readers), _SHORT_TRANSFER
        plain = False  # whether the version is agreed upon and no message has begun
        while True:
            if watched:
                self._work_until_readable()
                plain = self._plain()
            length, ancillary, flags, _ = receive(buffers, ANCILLARY_SPACE, receive_flags)
            if length == frame and plain and not ancillary:
                message_id, command, size, kind, _, offset, region, count = unpack(buffer)
                if command == read_id and size == frame and not kind and region < regions and 0 < count <= short:
                    limit, read = readers[region]
                    if offset + count <= limit:
                        try:
                            data = read(offset, count)
                            if len(data) != count:
                                raise ValueError(_wrong_length(region, count, data))
                            reply = pack(message_id, read_id, frame + count, 1, 0, offset, region, count) + data
                        except Exception as error:
                            reply = self._error_reply(message_id, read_id, error)
                        if trace:
                            trace.message(FROM_CLIENT, bytes(buffer[:frame]))
                            trace.message(FROM_SERVER, reply)
                        try:
                            send(reply, send_flags)  # so short a one goes as a whole or not at all
                        except BlockingIOError:
                            self._sender.send_patiently(reply)
                        if deferred:
                            self._serve_stream()
                            plain = self._plain()
                        continue
            if not length:
                return
            self._serve_chunk(length, *received_descriptors(ancillary, flags))
            plain = self._plain()

    def _plain(self) -> bool:
        return self._state.negotiated and not self._stream.pending

    def _serve_chunk(self, length: int, descriptors: list[int], descriptors_lost: bool) -> None:
        """Serve the first ``length`` bytes of the buffer: region accesses in place, the rest by way of the stream."""
        done = 0
        if self._plain() and not descriptors and not descriptors_lost:
            done = self._serve_accesses(length)
        if done < length or self._deferred:
            self._stream.feed(bytes(self._buffer[done:length]), descriptors, descriptors_lost)
            self._serve_stream()

    def _serve_accesses(self, length: int) -> int:
        """Answer the region accesses at the head of the buffer; returns the bytes that are done with.

        Stops at anything else, at what is incomplete, and where work was deferred.
        """
        buffer, trace = self._buffer, self._trace
        done: int = 0
        size: int
        while length - done >= _FRAME and not self._deferred:
            message_id, command, size, flags, _, offset, region, count = user.REGION_MESSAGE.unpack_from(buffer, done)
            if command == _READ and size == _FRAME and not flags:
                reply = self._answer_read(message_id, offset, region, count)
            elif command == _WRITE and _FRAME <= size <= length - done and flags in (0, user.NO_REPLY):
                data = bytes(buffer[done + _FRAME : done + size])
                reply = self._answer_write(message_id, offset, region, count, data)
                if flags:
                    reply = b""
            else:
                break
            if trace:
                trace.message(FROM_CLIENT, bytes(buffer[done : done + size]))
                if reply:
                    trace.message(FROM_SERVER, reply)
            if reply:
                self._sender.send(reply)
            done += size
        return done

    def _answer_read(self, message_id: int, offset: int, region: int, count: int) -> bytes:
        try:
            if region >= len(self._readers):
                raise OSError(errno.EINVAL, f"there is no region {region}")
            limit, read = self._readers[region]
            if offset + count > limit or count > _LONGEST_TRANSFER:
                raise OSError(errno.EINVAL, f"region {region} has no {count} bytes at {offset:#x} to read")
            data = read(offset, count) if count else b""
            if len(data) != count:
                raise ValueError(_wrong_length(region, count, data))
        except Exception as error:
            return self._error_reply(message_id, _READ, error)
        return (
            user.REGION_MESSAGE.pack(message_id, _READ, _FRAME + count, user.TYPE_REPLY, 0, offset, region, count)
            + data
        )

    def _answer_write(self, message_id: int, offset: int, region: int, count: int, data: bytes) -> bytes:
        try:
            if len(data) != count:
                raise OSError(errno.EINVAL, f"a write of {count} bytes with {len(data)} bytes of data")
            self._write(region, offset, data)
        except Exception as error:
            return self._error_reply(message_id, _WRITE, error)
        return user.REGION_MESSAGE.pack(message_id, _WRITE, _FRAME, user.TYPE_REPLY, 0, offset, region, count)

    def _write(self, region: int, offset: int, data: bytes) -> None:
        if region >= len(self._writers):
            raise OSError(errno.EINVAL, f"there is no region {region}")
        limit, write = self._writers[region]
        if offset + len(data) > limit or len(data) > _LONGEST_TRANSFER:
            raise OSError(errno.EINVAL, f"region {region} takes no {len(data)} bytes at {offset:#x}")
        if data:
            write(offset, data)

    def _serve_stream(self) -> None:
        """Serve the complete messages of the stream, and the work that they defer."""
        self._work()
        while message := self._stream.next():
            self._serve_message(message)
            self._work()

    def _serve_message(self, message: Message) -> None:
        try:
            self._trace_message(message)
            if message.is_reply:
                return  # to a command of ours that was given up
            descriptors: Sequence[int] = ()
            try:
                reply, descriptors = self._answer(message)
            except Exception as error:
                reply = self._error_reply(message.message_id, message.command, error)
                if isinstance(error, commands.Incompatible):
                    self._send(reply)
                    raise
            if not message.flags & user.NO_REPLY:
                self._send_reply(message, reply, descriptors)
        finally:
            message.close()

    def _answer(self, message: Message) -> tuple[bytes, Sequence[int]]:
        if message.flags & user.TYPE_MASK != user.TYPE_COMMAND:
            raise OSError(errno.EINVAL, f"a message with flags {message.flags:#x}")
        access = message.command in (_READ, _WRITE)
        if access and self._state.negotiated and not message.oversized and not message.descriptors_lost:
            offset, region, count = commands.fields(message, user.REGION_ACCESS)
            if message.command == _READ:
                return self._answer_read(message.message_id, offset, region, count), ()
            data = message.payload[user.REGION_ACCESS.size :]
            return self._answer_write(message.message_id, offset, region, count, data), ()
        payload, descriptors = commands.answer(self._state, message)
        return user.reply(message.message_id, message.command, payload), descriptors

    def _send_reply(self, message: Message, reply: bytes, descriptors: Sequence[int]) -> None:
        if descriptors:
            try:
                self._sender.send_with(reply, descriptors)
            except LOST:
                raise
            except OSError as error:  # ETOOMANYREFS: somebody of this user has too many descriptors in flight
                reply = self._error_reply(message.message_id, message.command, error)
            else:
                if self._trace:
                    self._trace.message(FROM_SERVER, reply, len(descriptors))
                return
        self._send(reply)

    def _send(self, message: bytes) -> None:
        if self._trace:
            self._trace.message(FROM_SERVER, message)
        self._sender.send(message)

    def _trace_message(self, message: Message) -> None:
        if self._trace:
            header = user.HEADER.pack(message.message_id, message.command, message.size, message.flags, message.error)
            self._trace.message(FROM_CLIENT, header + message.payload, len(message.descriptors))

    def _work(self) -> None:
        """Run what is deferred; work that comes up meanwhile has its turn in the same loop, never within."""
        if self._exchange.allowed:
            return
        self._exchange.allowed = True
        try:
            while self._deferred:
                work = self._deferred.popleft()
                try:
                    work()
                except Exception as error:
                    if not self._exchange.lost:
                        self._complaints.mistake(error)
                if self._exchange.lost:
                    raise self._exchange.lost
        finally:
            self._exchange.allowed = False

    def _work_until_readable(self) -> None:
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            for descriptor in ready:
                if work := self._watched.get(descriptor):
                    self._deferred.append(work)
            self._work()
            self._serve_stream()  # what a wait for DMA received along with its reply
            if self._connection.fileno() in ready:
                return

    def _error_reply(self, message_id: int, command: int, error: Exception) -> bytes:
        """What went wrong as an errno; what is no OSError is a mistake of ours and shown, but the guest goes on."""
        if isinstance(error, OSError) and error.errno:
            return user.error_reply(message_id, command, error.errno)
        self._complaints.mistake(error)
        return user.error_reply(message_id, command, errno.EIO)


def _wrong_length(region: int, count: int, data: bytes) -> str:
    return f"the model read {len(data)} bytes of region {region} where {count} were wanted"
