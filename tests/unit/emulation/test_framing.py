# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages in pieces and in heaps, descriptors with the right one, and what is no message at all."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.interrupts import IrqIndex, IrqSet
from passthru.emulation.vfio_user.stream import MOST_DESCRIPTORS
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import serving, signalled
from tests.unit.emulation.scratch_model import ScratchModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulation.client import Client

TRIGGER_EVENTFD = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
TRIGGER_NONE = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


def _read(message_id: int, offset: int, count: int) -> bytes:
    return user.command(message_id, user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(offset, 0, count))


def _write(message_id: int, offset: int, data: bytes, flags: int = 0) -> bytes:
    payload = user.REGION_ACCESS.pack(offset, 0, len(data)) + data
    return user.command(message_id, user.VFIO_USER_REGION_WRITE, payload, flags)


def test_a_message_may_come_byte_by_byte(client: Client) -> None:
    for byte in _write(1, 3, b"slow"):
        client.connection.sendall(bytes((byte,)))
    assert client.receive().message_id == 1
    assert client.read(0, 3, 4) == b"slow"


@pytest.mark.parametrize("cut", range(1, 36))
def test_a_heap_may_be_cut_anywhere(client: Client, cut: int) -> None:
    heap = _write(1, 0, b"abcd") + _write(2, 4, b"efgh", user.NO_REPLY) + _read(3, 0, 8)
    at = len(heap) - cut
    client.connection.sendall(heap[:at])
    client.connection.sendall(heap[at:])
    assert [client.receive().message_id for _ in range(2)] == [1, 3]
    assert client.read(0, 0, 8) == b"abcdefgh"


def test_a_heap_of_everything_is_answered_in_order(client: Client) -> None:
    info = user.command(7, user.VFIO_USER_DEVICE_GET_INFO, vfio.DEVICE_INFO.pack(16, 0, 0, 0))
    heap = _read(6, 0, 1) + info + _write(8, 0, b"x") + _read(9, 0, 1) + user.command(10, 99) + _read(11, 0x40, 1)
    client.connection.sendall(heap * 50)
    replies = [client.receive() for _ in range(6 * 50)]
    assert [reply.message_id for reply in replies] == [6, 7, 8, 9, 10, 11] * 50
    assert [reply.error for reply in replies[:6]] == ["", "", "", "", "EINVAL", "EINVAL"]


def test_more_than_a_chunk_of_posted_writes(client: Client) -> None:
    number = 5000
    client.connection.sendall(b"".join(_write(0, n % 16, bytes((n & 0xFF,)), user.NO_REPLY) for n in range(number)))
    assert client.read(0, 0, 16) == bytes((n & 0xFF) for n in (*range(4992, 5000), *range(4984, 4992)))


def test_descriptors_belong_to_the_last_message_of_their_chunk(client: Client, new_eventfd: Callable[[], int]) -> None:
    eventfd = new_eventfd()
    payload = vfio.IRQ_SET.pack(20, TRIGGER_EVENTFD, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 2, 1)
    client.connection.sendall(_read(1, 0, 1) + _write(2, 0, b"x") + _read(3, 0, 1))
    client.send(user.VFIO_USER_DEVICE_SET_IRQS, payload, descriptors=[eventfd])
    client.connection.sendall(_write(4, scratch.TRIGGER, b"\x02"))
    replies = [client.receive() for _ in range(5)]
    assert [reply.error for reply in replies] == [""] * 5
    assert signalled(eventfd) == 1


def test_descriptors_whose_message_follows_in_pieces(client: Client, new_eventfd: Callable[[], int]) -> None:
    eventfd = new_eventfd()
    payload = vfio.IRQ_SET.pack(20, TRIGGER_EVENTFD, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0, 1)
    message = user.command(5, user.VFIO_USER_DEVICE_SET_IRQS, payload)
    socket.send_fds(client.connection, [message[:3]], [eventfd])
    client.connection.sendall(message[3:20])
    client.connection.sendall(message[20:])
    assert client.receive().error == ""
    client.write(0, scratch.TRIGGER, b"\0")
    assert signalled(eventfd) == 1


def test_descriptors_of_a_message_that_wants_none_are_closed(client: Client, new_eventfd: Callable[[], int]) -> None:
    eventfd = new_eventfd()
    access = user.REGION_ACCESS.pack(0, 0, 4)
    reply = client.call(user.VFIO_USER_REGION_READ, access, descriptors=[eventfd] * 3)
    assert (reply.error, reply.payload) == ("", access + bytes(4))
    assert client.call(77, descriptors=[eventfd]).error == "EINVAL"


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (user.VFIO_USER_DEVICE_RESET, b""),
        (user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0, 0, 1)),
        (user.VFIO_USER_DEVICE_SET_IRQS, vfio.IRQ_SET.pack(20, TRIGGER_EVENTFD, 2, 0, 4)),
    ],
)
def test_more_descriptors_than_fit_are_einval(
    client: Client, new_eventfd: Callable[[], int], command: int, payload: bytes
) -> None:
    eventfd = new_eventfd()
    assert client.call(command, payload, descriptors=[eventfd] * (MOST_DESCRIPTORS + 1)).error == "EINVAL"
    if command != user.VFIO_USER_DEVICE_SET_IRQS:
        assert client.call(command, payload, descriptors=[eventfd] * MOST_DESCRIPTORS).error == ""


class _Watchful(IrqIndex):
    limit = 4

    def __init__(self) -> None:
        self.inheritable: list[bool] = []

    def set_irqs(self, request: IrqSet) -> None:
        self.inheritable += [os.get_inheritable(descriptor or 0) for descriptor in request.descriptors]


def test_descriptors_are_not_inherited_by_what_the_process_may_start(new_eventfd: Callable[[], int]) -> None:
    model = ScratchModel()
    watchful = _Watchful()
    model.irqs = (watchful, watchful, watchful)
    with serving(model) as client:
        client.version()
        assert client.set_irqs(TRIGGER_EVENTFD, 0, 0, 2, descriptors=[new_eventfd(), new_eventfd()]) == ""
    model.close()
    assert watchful.inheritable == [False, False]


def test_a_message_that_collects_descriptors_ends_the_connection(
    client: Client, new_eventfd: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    eventfd = new_eventfd()
    for _ in range(2):
        socket.send_fds(client.connection, [b"\1"], [eventfd] * 10)
    assert client.at_end()
    assert "more than 16 descriptors" in capsys.readouterr().err


def test_an_oversized_message_is_answered_and_thrown_away(client: Client) -> None:
    size = 3 << 20
    head = user.HEADER.pack(9, user.VFIO_USER_REGION_WRITE, size, 0, 0)
    client.connection.sendall(head + bytes(100))
    assert client.receive().error == "E2BIG"
    client.connection.sendall(bytes(size - len(head) - 100) + _read(10, 0, 1))
    assert (client.receive().message_id, client.read(0, 0, 1)) == (10, b"\0")


def test_the_largest_transfer_is_taken(client: Client) -> None:
    data = os.urandom(1 << 20)
    payload = user.REGION_ACCESS.pack(0, 0, len(data)) + data
    assert client.call(user.VFIO_USER_REGION_WRITE, payload).error == "EINVAL"  # the region is smaller, not the limit
    assert client.read(0, 0, 1) == b"\0"


@pytest.mark.parametrize(
    "header",
    [
        user.HEADER.pack(1, user.VFIO_USER_REGION_READ, 15, 0, 0),
        user.HEADER.pack(1, user.VFIO_USER_REGION_READ, 0, 0, 0),
        user.HEADER.pack(1, 99, 2 << 20, 0, 0),
        user.HEADER.pack(1, user.VFIO_USER_REGION_WRITE, 0xFFFFFFFF, 0, 0),
        user.HEADER.pack(1, user.VFIO_USER_REGION_WRITE, 2 << 20, 0x80, 0),
        user.HEADER.pack(1, user.VFIO_USER_REGION_WRITE, 2 << 20, 0x5, 0),
        b"GET / HTTP/1.1\r\n",
    ],
)
@pytest.mark.parametrize("agreed", [True, False])
def test_an_unsound_header_ends_the_connection(
    fresh: Client, header: bytes, agreed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if agreed:
        fresh.version()
    fresh.connection.sendall(header + bytes(32))
    assert fresh.at_end()
    assert capsys.readouterr().err.startswith("the client is disconnected: a ")


@pytest.mark.parametrize("flags", [0x2, 0xF])
def test_an_unknown_type_of_message_is_einval(client: Client, flags: int) -> None:
    assert client.call(user.VFIO_USER_DEVICE_RESET, flags=flags).error == "EINVAL"


def test_a_reply_that_nobody_awaits_is_ignored(client: Client) -> None:
    client.connection.sendall(user.reply(3, user.VFIO_USER_DMA_READ, bytes(40)))
    assert client.read(0, 0, 1) == b"\0"


@pytest.mark.parametrize("length", [1, 15, 16, 31, 33])
def test_a_client_that_leaves_within_a_message(model: ScratchModel, length: int) -> None:
    with serving(model) as client:
        client.version()
        client.connection.sendall((_write(1, 0, b"cut"))[:length])
    with serving(model) as client:
        client.version()
        assert client.read(0, 0, 3) == bytes(3)


def test_a_client_that_leaves_with_replies_under_way(model: ScratchModel) -> None:
    with serving(model) as client:
        client.version()
        client.connection.sendall(_read(1, 0, 64) * 1000)
    assert model.registers.values == bytes(0x40)
