# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that do not read, do not answer, do not go on, or are gone: whoever comes next, and signals, must not wait.

A client that has begun a message may take as long as it likes; the next one is refused meanwhile, as ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.eventfd import Eventfd, abandon_waiting
from passthru.emulation.vfio_user import sending, session
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import SECONDS, Client, serving
from tests.unit.emulation.hostile.adversary import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulation.hostile.server import Server
    from tests.unit.emulation.scratch_model import ScratchModel

READ = user.command(1, user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, 0, 1))
LARGE_READ = user.command(2, user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, scratch.MEMORY, 0x3000))
MESSAGE = user.command(3, user.VFIO_USER_REGION_WRITE, user.REGION_ACCESS.pack(0, 0, 4) + b"data")
DOORBELL = b"".join(value.to_bytes(8, "little") for value in (0, 0, 4))


def stuff(server: Server, client: Client, message: bytes = READ) -> None:
    """Send until nothing goes any more, and read nothing."""
    client.connection.setblocking(False)
    for _ in range(2):  # what was taken before the server was stuck made room
        rest = b""
        while True:
            try:
                rest = rest or message * 512
                rest = rest[client.connection.send(rest) :]
            except BlockingIOError:
                break
        server.is_stuck(client.connection)
    client.connection.setblocking(True)
    client.connection.settimeout(SECONDS)


def stuff_with_large_replies(server: Server, client: Client) -> None:
    """The same, with replies that are longer than what is left of the socket's room."""
    stuff(server, client, LARGE_READ)


def stuff_with_descriptors(server: Server, client: Client) -> None:
    """The same, with replies that bring a descriptor."""
    info = vfio.REGION_INFO.pack(1 << 16, 0, scratch.MEMORY, 0, 0, 0)
    stuff(server, client, user.command(1, user.VFIO_USER_DEVICE_GET_REGION_INFO, info))


def stuff_and_shut_down(server: Server, client: Client) -> None:
    """The same, and promise to send no more."""
    stuff(server, client)
    client.connection.shutdown(socket.SHUT_WR)


def ring_and_answer_nothing(server: Server, client: Client) -> None:
    """Have the device do DMA by messages, and leave it waiting."""
    assert client.map(0, PAGE) == ""
    client.write(scratch.REGISTERS, scratch.COPY, DOORBELL)
    assert client.receive().command == user.VFIO_USER_DMA_WRITE


def ring_and_answer_half(server: Server, client: Client) -> None:
    """The same, with half an answer."""
    ring_and_answer_nothing(server, client)
    client.connection.sendall(user.reply(1, user.VFIO_USER_DMA_WRITE, bytes(16))[:20])
    server.has_read(client.connection)


def begin(length: int) -> Callable[[Server, Client], None]:
    """Begin a message and say no more."""

    def trouble(server: Server, client: Client) -> None:
        client.connection.sendall(MESSAGE[:length])
        server.has_read(client.connection)

    return trouble


TROUBLES = {
    "silence": begin(0),
    "a byte of a header": begin(1),
    "half a header": begin(8),
    "a header": begin(16),
    "half a payload": begin(30),
    "unread replies": stuff,
    "unread large replies": stuff_with_large_replies,
    "unread descriptors": stuff_with_descriptors,
    "unread replies, shut down": stuff_and_shut_down,
    "DMA": ring_and_answer_nothing,
    "DMA half answered": ring_and_answer_half,
}
troubles = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)


@troubles
def test_the_next_client_is_refused_at_once_and_served_when_the_troublesome_one_is_gone(
    server: Server, trouble: Callable[[Server, Client], None]
) -> None:
    with server.client() as client:
        trouble(server, client)
        for _ in range(3):
            second = Client(server.connect())
            assert second.at_end()
            second.close()
    server.serve_another()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@troubles
def test_signals_end_it_whatever_it_waits_for(
    lone_server: Server, trouble: Callable[[Server, Client], None], number: int
) -> None:
    with lone_server.client() as client:
        trouble(lone_server, client)
        assert lone_server.end(number) == 0
        assert not lone_server.path.exists()


def test_replies_that_nobody_reads_are_not_kept(server: Server) -> None:
    with server.client() as client:
        before = server.resident()
        stuff_with_large_replies(server, client)
        assert server.resident() - before < 4 << 20
    server.serve_another()


def test_a_client_that_reads_nothing_is_disconnected_in_the_end(
    model: ScratchModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.2)
    with serving(model) as client:
        client.version()
        client.connection.setblocking(False)
        deadline = time.monotonic() + SECONDS
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    client.connection.send(READ * 64)
    assert "the client is disconnected: it has read nothing for" in capsys.readouterr().err


def test_a_client_that_hides_its_own_end_in_the_connection_and_goes(
    model: ScratchModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server was blocked in a send for ever, to a connection that it kept alive itself."""
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.2)
    with serving(model) as client:
        client.version()
        client.connection.sendall(LARGE_READ * 64)  # the replies are more than a socket holds
        deadline = time.monotonic() + SECONDS
        while int.from_bytes(fcntl.ioctl(client.connection, termios.FIONREAD, bytes(4)), "little") < 100_000:
            assert time.monotonic() < deadline, "the server does not reply"
        socket.send_fds(client.connection, [b"x"], [client.connection.fileno()])
    assert "it has read nothing for" in capsys.readouterr().err


def test_a_slow_reader_gets_everything(server: Server) -> None:
    number = 2000
    with server.client() as client:
        sent = LARGE_READ * number
        client.connection.setblocking(False)
        replies = 0
        expected = user.HEADER.size + user.REGION_ACCESS.size + 0x3000
        received = 0
        deadline = time.monotonic() + SECONDS
        while received < number * expected and time.monotonic() < deadline:
            try:
                if sent:
                    sent = sent[client.connection.send(sent) :]
            except BlockingIOError:
                pass
            try:
                received += len(client.connection.recv(7777))
            except BlockingIOError:
                continue
        replies, rest = divmod(received, expected)
        assert (replies, rest) == (number, 0)


def test_a_client_that_shuts_down_its_reading_end_is_gone(server: Server) -> None:
    with server.client() as client:
        client.connection.shutdown(socket.SHUT_RD)
        deadline = time.monotonic() + SECONDS
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                client.connection.sendall(READ * 10)
        server.serve_another()


def test_urgent_bytes_are_bytes_of_the_stream(client: Client, new_eventfd: Callable[[], int]) -> None:
    """The stream seemed readable and was not: a wait with a deadline went over to one without."""
    flags = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
    client.set_irqs(flags, 0, 0, 1, descriptors=[new_eventfd()])
    flags = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_UNMASK
    client.set_irqs(flags, 0, 0, 1, descriptors=[new_eventfd()])  # the server watches it, and polls therefore
    for byte in READ[:-1]:
        try:
            client.connection.send(bytes((byte,)), socket.MSG_OOB)
        except OSError:
            pytest.skip("this kernel has no urgent data for UNIX sockets")
    client.connection.sendall(READ[-1:])
    assert client.receive().message_id == 1


def test_a_crowd_that_knocks_does_not_end_the_server(server: Server) -> None:
    """The signal handler that refused them was run within itself until Python's stack was full."""
    code = """
import socket, sys
for _ in range(4000):
    with socket.socket(socket.AF_UNIX) as knocker:
        knocker.connect(sys.argv[1])
"""
    with server.client() as client:
        crowd = [subprocess.Popen([sys.executable, "-c", code, str(server.path)]) for _ in range(3)]
        deadline = time.monotonic() + SECONDS
        try:
            while any(knocker.poll() is None for knocker in crowd):
                assert time.monotonic() < deadline
                client.read(0, 0, 1)  # answered, whatever goes on at the door
        finally:
            for knocker in crowd:
                knocker.kill()
                knocker.wait()
        assert [knocker.returncode for knocker in crowd] == [0, 0, 0]
        second = Client(server.connect())
        assert second.at_end()
        second.close()
    server.serve_another()


def test_a_client_that_fills_its_eventfd_up_at_the_wrong_moment() -> None:
    """The write of an event then waited for ever; now it ends with the next knock."""
    theirs = os.eventfd(0)
    eventfd = Eventfd(theirs)
    eventfd.signal()
    assert os.eventfd_read(theirs) == 1
    free = os.eventfd(0)
    eventfd._room.unregister(eventfd.descriptor)
    eventfd._room.register(free)  # "there is room", it says, and then there is none
    os.eventfd_write(theirs, (1 << 64) - 2)
    before = signal.signal(signal.SIGALRM, lambda number, frame: abandon_waiting())
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        eventfd.signal()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert os.eventfd_read(theirs) == (1 << 64) - 2
    eventfd.signal()
    assert os.eventfd_read(theirs) == 1
    eventfd.close()
    eventfd.signal()
    for descriptor in (theirs, free):
        os.close(descriptor)


def test_an_eventfd_that_somebody_else_drained_is_not_waited_for() -> None:
    """An unmask eventfd that its client read itself blocked the server for ever."""
    theirs = os.eventfd(0)
    eventfd = Eventfd(theirs)
    assert eventfd.drain() is False
    os.eventfd_write(theirs, 5)
    assert eventfd.drain() is True
    assert eventfd.drain() is False
    eventfd.close()
    assert eventfd.drain() is False
    os.close(theirs)


def test_work_does_not_pile_up_while_a_client_owes_an_answer(client: Client, model: ScratchModel) -> None:
    """Each posted doorbell was kept, for as long as the client did not answer."""
    client.map(0, PAGE)
    doorbell = user.REGION_ACCESS.pack(scratch.COPY, 0, len(DOORBELL)) + DOORBELL
    client.write(scratch.REGISTERS, scratch.COPY, DOORBELL)
    assert client.receive().command == user.VFIO_USER_DMA_WRITE
    answers = [client.call(user.VFIO_USER_REGION_WRITE, doorbell).error for _ in range(2 * session.MOST_DEFERRED)]
    assert answers == [""] * session.MOST_DEFERRED + ["EBUSY"] * session.MOST_DEFERRED


def test_an_access_that_comes_while_dma_is_waited_for_cannot_wait_itself(client: Client) -> None:
    """It did, with the client's command unanswered, and neither wait could end but by time-out."""
    client.map(0, PAGE)
    client.write(scratch.REGISTERS, scratch.COPY, DOORBELL)
    request = client.receive()
    client.write(scratch.REGISTERS, scratch.IMPATIENT, b"\1")  # DMA within the access; its reply comes
    assert client.read(scratch.REGISTERS, scratch.STATUS, 1)[0] == errno.EDEADLK
    client.connection.sendall(user.error_reply(request.message_id, request.command, errno.EPERM))
    request = client.receive()
    assert request.command == user.VFIO_USER_DMA_READ
    client.connection.sendall(user.error_reply(request.message_id, request.command, errno.EPERM))
    assert client.read(scratch.REGISTERS, scratch.STATUS, 1)[0] == errno.EPERM
