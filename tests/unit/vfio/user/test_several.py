# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands one behind the other, raw messages, and migration data."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import user_messages as user
from passthru.vfio.user.errors import ProtocolError, Refused
from passthru.vfio.user.exchange import Answer
from passthru.vfio.user.migration import MIG_DATA, read_state, write_state
from tests.unit.vfio.user.servers import scripted

if TYPE_CHECKING:
    from passthru.vfio.user.target import UserOpened
    from tests.unit.vfio.user.servers import Peer

READ, WRITE = user.VFIO_USER_REGION_READ, user.VFIO_USER_REGION_WRITE
SCR = 7


def test_a_batch_is_answered_in_order(mtty: UserOpened) -> None:
    """More than a socket takes at once, with message ids that wrap."""
    access = user.REGION_ACCESS.pack(SCR, 0, 1)
    commands = []
    for number in range(40_000):
        commands += [(WRITE, access + bytes((number & 0xFF,))), (READ, access)]
    answers = mtty.device.connection.ask_all(commands)
    assert len(answers) == len(commands)
    for number, answer in enumerate(answers[1::2]):
        assert isinstance(answer, Answer)
        assert answer.payload == access + bytes((number & 0xFF,))


def test_a_refusal_within_a_batch(mtty: UserOpened) -> None:
    right, wrong = user.REGION_ACCESS.pack(SCR, 0, 1), user.REGION_ACCESS.pack(8, 0, 1)
    first, second, third = mtty.device.connection.ask_all([(READ, right), (READ, wrong), (READ, right)])
    assert isinstance(first, Answer)
    assert isinstance(second, Refused)
    assert second.errno == errno.EINVAL
    assert first == third
    assert mtty.device.connection.ask_all([]) == []


def test_answers_in_another_order() -> None:
    def script(peer: Peer) -> None:
        asked = [peer.receive() for _ in range(2)]
        for message_id, command, payload in reversed(asked):
            peer.send(user.reply(message_id, command, payload + b"a"))

    access = user.REGION_ACCESS.pack(0, 0, 1)
    with scripted(script) as made, pytest.raises(ProtocolError, match=r"with id 2 was answered with .* id 3"):
        made.device.connection.ask_all([(READ, access), (READ, access)])


def test_messages_as_they_stand(mtty: UserOpened) -> None:
    connection = mtty.device.connection
    connection.send_raw(user.command(500, 999, b"abc"))
    reply = connection.receive_raw()
    assert (reply.message_id, reply.command, reply.flags, reply.error) == (500, 999, 0x21, errno.EINVAL)
    assert mtty.device.read(0, SCR, 1) == b"\0"


def test_migration_data_are_a_stream() -> None:
    taken = b""

    def script(peer: Peer) -> None:
        nonlocal taken
        for part in (b"x" * 100, b"y" * 50):
            message_id, command, payload = peer.receive()
            assert MIG_DATA.unpack(payload) == (108, 100)
            peer.send(user.reply(message_id, command, MIG_DATA.pack(8 + len(part), len(part)) + part))
        for _ in range(3):
            message_id, command, payload = peer.receive()
            assert MIG_DATA.unpack_from(payload) == (len(payload), len(payload) - 8)
            taken += payload[8:]
            peer.send(user.reply(message_id, command))

    state = bytes(range(256)) * 40
    with scripted(script) as made:
        assert read_state(made.device, 100) == b"x" * 100
        assert read_state(made.device, 100) == b"y" * 50
        write_state(made.device, state)
    assert taken == state
