# SPDX-License-Identifier: GPL-2.0-or-later
"""Framed JSON over a socket and over what is no socket."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.stream import MAX_FRAME, FramedStream, FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[FramedStream, FramedStream]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = (FramedStream(end.detach()) for end in socket.socketpair())
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, FramedStream]]:
    ours, theirs = socket.socketpair()
    stream = FramedStream(theirs.detach())
    yield ours, stream
    stream.close()
    ours.close()


def messages(stream: FramedStream) -> list[dict[str, Any]]:
    return [message for message, _ in stream.receive()]


def test_messages_arrive_in_order(pair: Pair) -> None:
    left, right = pair
    left.send({"id": 1, "text": "gr\u00fc\u00dfe \udcff"})
    left.send({"id": 2})
    assert messages(right) == [{"id": 1, "text": "gr\u00fc\u00dfe \udcff"}, {"id": 2}]
    assert messages(right) == []


def test_frame_split_at_every_byte(raw: tuple[socket.socket, FramedStream]) -> None:
    ours, stream = raw
    body = b'{"id": 3}'
    frame = struct.pack(">I", len(body)) + body
    for byte in frame[:-1]:
        ours.send(bytes([byte]))
        assert messages(stream) == []
    ours.send(frame[-1:])
    assert messages(stream) == [{"id": 3}]


def test_large_message_waits_for_the_reader(pair: Pair) -> None:
    left, right = pair
    text = "x" * (MAX_FRAME - 100)
    left.send({"text": text})
    assert left.wants_to_write
    received: list[dict[str, Any]] = []
    while not received:
        received = messages(right)
        left.flush()
    assert received == [{"text": text}]
    assert not left.wants_to_write


def test_descriptors_stay_with_their_message(pair: Pair) -> None:
    left, right = pair
    pipes = [os.pipe() for _ in range(3)]
    left.send({"id": 1}, [pipes[0][0], pipes[1][0]])
    left.send({"id": 2})
    left.send({"id": 3}, [pipes[2][0]])
    received: list[tuple[dict[str, Any], list[int]]] = []
    while len(received) < 3:
        received += right.receive()
    assert [(message["id"], len(fds)) for message, fds in received] == [(1, 2), (2, 0), (3, 1)]
    fds = [fd for _, some in received for fd in some]
    for number, (_, writer) in enumerate(pipes):
        os.write(writer, b"%d" % number)
        os.close(writer)
        assert os.read(fds[number], 10) == b"%d" % number
        assert not os.get_inheritable(fds[number])
        os.close(fds[number])


def test_descriptors_are_closed_by_whoever_does_not_take_them(pair: Pair) -> None:
    left, right = pair
    reader, writer = os.pipe()
    left.send({"id": 1}, [reader])
    right.close()  # in the kernel's queue
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)


def test_too_large_a_message_is_refused_by_the_sender(pair: Pair) -> None:
    left, right = pair
    with pytest.raises(FrameError, match="does not fit"):
        left.send({"text": "x" * MAX_FRAME})
    left.send({"id": 1})
    assert messages(right) == [{"id": 1}]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack(">I", MAX_FRAME + 1), "more than"),
        (b"\xff" * 64, "more than"),
        (struct.pack(">I", 3) + b"no!", "holds no JSON"),
        (struct.pack(">I", 0), "holds no JSON"),
        (struct.pack(">I", 2) + b"\xff\xfe", "holds no JSON"),
        (struct.pack(">I", 100000) + b"[" * 100000, "holds no JSON"),
        (struct.pack(">I", 2) + b"[]", "a JSON list where an object"),
        (struct.pack(">I", 10) + b'{"fds": 1}', "speaks of 1 descriptors where 0"),
        (struct.pack(">I", 11) + b'{"fds": -1}', "speaks of -1 descriptors"),
        (struct.pack(">I", 13) + b'{"fds": "no"}', "speaks of 'no' descriptors"),
    ],
)
def test_what_is_no_frame(raw: tuple[socket.socket, FramedStream], data: bytes, why: str) -> None:
    ours, stream = raw
    ours.sendall(data)
    with pytest.raises(FrameError, match=why):
        while True:
            assert messages(stream) == []
            readable, _, _ = select.select([stream], [], [], 0)
            assert readable


def test_end_of_the_stream(raw: tuple[socket.socket, FramedStream]) -> None:
    ours, stream = raw
    stream.send({"unread": True})
    ours.send(struct.pack(">I", 100) + b"half a fr")
    ours.close()
    assert messages(stream) == []
    with pytest.raises(EOFError):
        messages(stream)
    stream.send({"id": 1})  # to nobody: no error, no signal
    assert not stream.wants_to_write


def test_character_device() -> None:
    """What a virtio-serial port is to the worker; a terminal in raw mode behaves alike."""
    controller, terminal = pty.openpty()
    os.system(f"stty raw -echo < {os.ttyname(terminal)}")
    stream = FramedStream(terminal)
    try:
        body = json.dumps({"id": 1}).encode()
        os.write(controller, struct.pack(">I", len(body)) + body)
        assert messages(stream) == [{"id": 1}]
        stream.send({"id": 1, "ok": {}})
        assert os.read(controller, 1000)[4:] == b'{"id": 1, "ok": {}}'
        with pytest.raises(FrameError, match="1 descriptors does not fit"):
            stream.send({"id": 2}, [os.dup(controller)])
    finally:
        stream.close()
        os.close(controller)
