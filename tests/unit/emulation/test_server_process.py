# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.emulation``: clients one by one, signals, what stays behind (nothing), and wrong usage."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import user_messages as user
from passthru.vfio.trace_lines import read_trace
from tests.unit.emulation.client import SECONDS, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

SCR = 7
COMMAND = [sys.executable, "-m", "passthru.emulation"]


@pytest.fixture
def place(nothing_stays_open: None) -> Iterator[Path]:
    """A short directory, for socket paths are short; empty at the end but for traces."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        yield Path(path)


class Server:
    """A server process at a socket path."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self.path = path

    def connect(self) -> Client:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        connection.connect(str(self.path))
        return Client(connection)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def _started(arguments: list[str], path: Path, pass_fds: tuple[int, ...] = ()) -> Iterator[Server]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=pass_fds
    )
    try:
        yield Server(process, path)
    finally:
        process.kill()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def _listening(path: Path, *more: str) -> Iterator[Server]:
    with _started(["mtty", "--socket", str(path), *more], path) as server:
        assert server.process.stdout is not None
        assert select.select([server.process.stdout], [], [], SECONDS)[0]
        assert server.process.stdout.readline() == f"mtty listens on {path}\n".encode()
        yield server


@pytest.fixture
def server(place: Path) -> Iterator[Server]:
    with _listening(place / "s") as started:
        yield started


def test_a_second_client_is_refused_at_once_and_the_first_goes_on(server: Server) -> None:
    first = server.connect()
    first.version()
    first.write(0, SCR, b"1")
    for _ in range(20):
        second = server.connect()
        assert second.at_end()
        second.close()
        assert first.read(0, SCR, 1) == b"1"
    first.close()


def test_a_second_client_is_refused_while_the_first_is_busy_or_silent(server: Server) -> None:
    first = server.connect()  # says nothing at all
    second = server.connect()
    assert second.at_end()
    second.close()
    first.version()
    access = user.REGION_ACCESS.pack(SCR, 0, 1)
    first.connection.sendall(user.command(1, user.VFIO_USER_REGION_READ, access) * 2000)
    third = server.connect()
    assert third.at_end()
    third.close()
    assert [first.receive().error for _ in range(2000)] == [""] * 2000
    first.close()


def test_who_comes_after_the_first_has_left_is_served_and_finds_the_devices_state(server: Server) -> None:
    for number in range(30):  # at once: the server may not have noticed yet that the one before left
        client = server.connect()
        client.version()
        expected = bytes((number,))
        assert client.read(0, SCR, 1) == expected
        client.write(0, SCR, bytes((number + 1,)))
        client.close()


def test_several_who_come_after_the_first_has_left(server: Server) -> None:
    first = server.connect()
    first.version()
    first.close()
    clients = [server.connect() for _ in range(5)]
    clients[0].version()
    assert [client.at_end() for client in clients[1:]] == [True] * 4
    for client in clients:
        client.close()


def test_a_client_leaves_no_descriptors_behind(server: Server) -> None:
    client = server.connect()
    client.version()
    before = server.descriptors()
    eventfd, ram = os.eventfd(0), os.memfd_create("ram")
    os.ftruncate(ram, 1 << 20)
    for page in range(20):
        assert client.map(page << 12, 4096, descriptors=[ram]) == ""
    assert client.set_irqs(0x24, 0, 0, 1, descriptors=[eventfd]) == ""
    assert client.set_irqs(0x24, 0, 0, 1, descriptors=[ram]) == "EINVAL"
    assert client.map(0, 4096, descriptors=[ram]) == "EEXIST"
    assert client.set_irqs(0x24, 0, 0, 1, descriptors=[eventfd]) == ""
    assert client.call(user.VFIO_USER_REGION_READ, bytes(16), descriptors=[ram] * 8).error == ""
    client.send(user.VFIO_USER_DMA_MAP, user.DMA_MAP.pack(32, 3, 0, 1 << 30, 4096), descriptors=[ram])
    client.close()
    os.close(eventfd)
    os.close(ram)
    client = server.connect()
    client.version()
    assert server.descriptors() == before
    client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("with_client", [True, False])
def test_signals_end_it_and_its_socket(place: Path, number: int, with_client: bool) -> None:
    with _listening(place / "s") as server:
        client = server.connect() if with_client else None
        if client:
            client.version()
        assert server.end(number) == 0
        assert list(place.iterdir()) == []
        if client:
            assert client.at_end()
            client.close()


def test_what_took_the_place_of_its_socket_is_left_alone(place: Path) -> None:
    with _listening(place / "s") as server:
        (place / "s").unlink()
        (place / "s").write_text("another's")
        assert server.end() == 0
    assert (place / "s").read_text() == "another's"


def test_an_inherited_socket_is_listened_on_at_once_and_its_path_stays(place: Path) -> None:
    path = place / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        arguments = ["mtty", "--options", '{"ports": 1}', "--listen-fd", str(listener.fileno())]
        with _started(arguments, path, pass_fds=(listener.fileno(),)) as server:
            client = server.connect()  # waits in the queue until the server is there
            client.version()
            assert client.read(7, 0x14, 4) == bytes(4)
            client.close()
            assert server.end() == 0
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_trace(place: Path) -> None:
    trace = place / "trace"
    with _listening(place / "s", "--trace", str(trace)) as server:
        client = server.connect()
        client.version()
        client.read(0, 5, 1)
        client.post(1, SCR, b"\x2a")
        client.call(user.VFIO_USER_DEVICE_GET_IRQ_INFO, bytes(16))
        client.close()
        assert server.end() == 0
    lines = [line.split(maxsplit=1)[1] for line in read_trace(trace)]
    assert lines[0] == "- client connected"
    assert lines[1].startswith("> VERSION id=100 0.0 {")
    assert lines[2].startswith('< VERSION id=100 ok 0.0 {"capabilities"')
    assert lines[3:] == [
        "> REGION_READ id=101 bar0+0x5 count=1",
        "< REGION_READ id=101 ok bar0+0x5 count=1 data=60",
        "> REGION_WRITE id=102 no-reply bar1+0x7 count=1 data=2a",
        "> DEVICE_GET_IRQ_INFO id=103 intx",
        "< DEVICE_GET_IRQ_INFO id=103 error=EINVAL",
        "- client left",
    ]


def test_a_trace_is_told_while_the_server_is_idle(place: Path) -> None:
    pipe, trace = place / "pipe", place / "trace"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    readable = select.poll()
    readable.register(reader, select.POLLIN)
    with _listening(place / "s", "--trace", str(pipe)) as server:
        client = server.connect()
        client.version()
        client.read(0, 5, 1)
        told = b""
        while told.count(user.HEADER.pack(101, user.VFIO_USER_REGION_READ, 33, user.TYPE_REPLY, 0)) == 0:
            assert readable.poll(SECONDS * 1000)
            told += os.read(reader, 1 << 16)
        server.process.kill()  # and nothing more can come
        client.close()
    os.close(reader)
    trace.write_bytes(told)
    assert [line.split()[2] for line in read_trace(trace)][-2:] == ["REGION_READ", "REGION_READ"]


def _refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, text=True, check=False
    )
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "which model? usage: "),
        (["nosuch", "--socket", "/tmp/x"], 2, "no model 'nosuch'; there are mtty"),
        (["mtty"], 2, "either a socket path or the number of a listening socket"),
        (["mtty", "--socket", "/tmp/x", "--listen-fd", "3"], 2, "either a socket path or"),
        (["mtty", "--socket"], 2, "--socket needs a value"),
        (["mtty", "mtty"], 2, "'mtty' is not understood"),
        (["mtty", "--verbose"], 2, "'--verbose' is not understood"),
        (["mtty", "--listen-fd", "three"], 2, "'three' is no number"),
        (["mtty", "--listen-fd", "99"], 2, "descriptor 99 is no listening socket"),
        (["mtty", "--listen-fd", "0"], 2, "descriptor 0 is no listening socket"),
        (["mtty", "--socket", "/tmp/x", "--options", "{"], 2, "is no JSON: "),
        (["mtty", "--socket", "/tmp/x", "--options", "[]"], 2, "is no JSON object"),
        (
            ["mtty", "--socket", "/tmp/x", "--options", '{"ports": 3}'],
            2,
            "option ports of model mtty is 3; it can be 1 or 2",
        ),
        (["mtty", "--socket", "/tmp/x", "--options", '{"ports": true}'], 2, "is True; it can be 1 or 2"),
        (["mtty", "--socket", "/tmp/x", "--options", '{"fifo": 1}'], 2, "it can be 'faithful' or 'fixed'"),
        (["mtty", "--socket", "/tmp/x", "--options", '{"fifos": 1}'], 2, "no option 'fifos'; it has ports, fifo"),
        (["mtty", "--socket", "/tmp/" + "x" * 103], 2, "is longer than 107 bytes"),
        (["mtty", "--socket", ""], 2, "the socket path is empty"),
        (["mtty", "--socket", "/nosuch/socket"], 125, "no socket can be made at /nosuch/socket: No such file"),
        (["mtty", "--socket", "/tmp/x", "--trace", "/nosuch/trace"], 125, "the trace /nosuch/trace cannot be written"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], code: int, words: str) -> None:
    returned, said = _refused(*arguments)
    assert (returned, words in said) == (code, True), said


def test_a_path_in_use_is_left_alone(place: Path, server: Server) -> None:
    code, said = _refused("mtty", "--socket", str(server.path))
    assert (code, "is in use or left over" in said) == (2, True)
    client = server.connect()
    client.version()
    client.close()


def test_help() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, timeout=SECONDS, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert "mtty" in done.stdout
