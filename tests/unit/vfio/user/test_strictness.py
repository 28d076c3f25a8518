# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server must not send: each is a ProtocolError that says what was asked and what came, and the end."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.malformed import Malformed
from passthru.vfio.user.errors import GivenUp, ProtocolError
from passthru.vfio.user.migration import read_state, write_state
from passthru.vfio.user.target import open_connected
from tests.unit.vfio.user.servers import answering_version, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.user.device import UserDevice
    from tests.unit.vfio.user.servers import Peer

READ, WRITE, RESET = user.VFIO_USER_REGION_READ, user.VFIO_USER_REGION_WRITE, user.VFIO_USER_DEVICE_RESET
ACCESS = user.REGION_ACCESS.pack


def _header(message_id: int, command: int, *, flags: int = 1, error: int = 0, size: int = 16) -> bytes:
    return user.HEADER.pack(message_id, command, size, flags, error)


READ_ANSWERS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "another id": (
        lambda number: user.reply(number + 1, READ, ACCESS(4, 0, 4) + b"abcd"),
        r"REGION_READ with id 2 was answered with a reply to REGION_READ with id 3",
    ),
    "another command": (
        lambda number: user.reply(number, WRITE, ACCESS(4, 0, 4) + b"abcd"),
        r"REGION_READ with id 2 was answered with a reply to REGION_WRITE",
    ),
    "no reply's flags": (
        lambda number: _header(number, READ, flags=1 | user.NO_REPLY, size=36) + ACCESS(4, 0, 4) + b"abcd",
        "flags 0x11",
    ),
    "reserved flags": (
        lambda number: _header(number, READ, flags=0x101, size=36) + ACCESS(4, 0, 4) + b"abcd",
        "flags 0x101",
    ),
    "an errno without the error flag": (
        lambda number: _header(number, READ, error=22, size=36) + ACCESS(4, 0, 4) + b"abcd",
        "errno 22",
    ),
    "an error with a payload": (
        lambda number: _header(number, READ, flags=0x21, error=22, size=20) + b"abcd",
        "flags 0x21, errno 22 and 4 bytes",
    ),
    "an errno that is none": (lambda number: user.error_reply(number, READ, 1 << 31), "errno 2147483648"),
    "short data": (lambda number: user.reply(number, READ, ACCESS(4, 0, 4) + b"ab"), "2 bytes of data .* says 4"),
    "long data": (lambda number: user.reply(number, READ, ACCESS(4, 0, 4) + b"abcdef"), "6 bytes of data .* says 4"),
    "more than was asked": (
        lambda number: user.reply(number, READ, ACCESS(4, 0, 6) + b"abcdef"),
        "REGION_READ of 4 bytes at 0x4 of region 0 was answered for 6 bytes at 0x4",
    ),
    "of another place": (
        lambda number: user.reply(number, READ, ACCESS(8, 0, 4) + b"abcd"),
        "was answered for 4 bytes at 0x8",
    ),
    "of another region": (lambda number: user.reply(number, READ, ACCESS(4, 1, 4) + b"abcd"), "of region 1"),
    "no access at all": (lambda number: user.reply(number, READ, b"ab"), "2 bytes after the header, 16 are the least"),
    "less than a header": (lambda number: _header(number, READ, size=15), "says 15 bytes"),
    "more than a message": (lambda number: _header(number, READ, size=1 << 30), "says 1073741824 bytes"),
    "a client's command": (lambda number: user.command(7, RESET), "DEVICE_RESET, which only clients send"),
    "a short command": (lambda number: user.command(7, user.VFIO_USER_DMA_READ, b"ab"), "DMA_READ with 2 bytes"),
    "a command with less data": (
        lambda number: user.command(7, user.VFIO_USER_DMA_WRITE, user.DMA_ACCESS.pack(0, 9) + b"ab"),
        "DMA_WRITE of 9 bytes at 0x0 with 2 bytes",
    ),
}


@pytest.mark.parametrize("name", READ_ANSWERS)
def test_of_a_read(name: str) -> None:
    answer, words = READ_ANSWERS[name]

    def script(peer: Peer) -> None:
        message_id, command, _ = peer.receive()
        assert command == READ
        peer.send(answer(message_id))

    with scripted(script) as made:
        with pytest.raises(ProtocolError, match=words):
            made.device.read(0, 4, 4)
        with pytest.raises(GivenUp, match=words):
            made.device.read(0, 4, 4)


WRITE_ANSWERS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "with data": (lambda number: user.reply(number, WRITE, ACCESS(4, 0, 4) + b"abcd"), "20 bytes after the header"),
    "more than was sent": (lambda number: user.reply(number, WRITE, ACCESS(4, 0, 5)), "answered for 5 bytes"),
    "of another region": (lambda number: user.reply(number, WRITE, ACCESS(4, 7, 4)), "region 7"),
    "a bare header": (lambda number: user.reply(number, WRITE), "0 bytes after the header, 16 are the least"),
}


@pytest.mark.parametrize("name", WRITE_ANSWERS)
def test_of_a_write(name: str) -> None:
    answer, words = WRITE_ANSWERS[name]
    with (
        scripted(lambda peer: peer.send(answer(peer.receive()[0]))) as made,
        pytest.raises(ProtocolError, match=words),
    ):
        made.device.write(0, 4, b"abcd")


STRUCTURES: dict[str, tuple[Callable[[UserDevice], object], bytes, str]] = {
    "a short device info": (lambda device: device.info(), vfio.DEVICE_INFO.pack(16, 2, 9, 5)[:12], "12 bytes"),
    "a device info that says less": (lambda device: device.info(), vfio.DEVICE_INFO.pack(12, 2, 9, 5), "12"),
    "a region info of another region": (
        lambda device: device.region_info(3),
        vfio.REGION_INFO.pack(32, 3, 4, 0, 8, 0),
        "region 4",
    ),
    "a region info with more than there was room for": (
        lambda device: device.region_info(3),
        vfio.REGION_INFO.pack(40, 3, 3, 0, 8, 0) + bytes(8),
        "argsz 32 was answered with 40 bytes",
    ),
    "an irq info of another index": (lambda device: device.irq_info(0), vfio.IRQ_INFO.pack(16, 7, 1, 1), "index 1"),
    "a payload behind SET_IRQS": (lambda device: device.set_irqs(0x21, 0, 0, 0), b"abcd", "4 bytes"),
    "a payload behind RESET": (lambda device: device.reset(), b"abcd", "4 bytes"),
    "a feature that was not asked for": (
        lambda device: device.feature(1 | 1 << 16, bytes(8)),
        vfio.IRQ_INFO.pack(16, 2 | 1 << 16, 0, 0),
        "0x10002",
    ),
    "a feature longer than asked for": (
        lambda device: device.feature(1 | 1 << 16, bytes(4)),
        vfio.IRQ_INFO.pack(16, 1 | 1 << 16, 0, 0),
        "room for 12 bytes",
    ),
    "more writes than were sent": (
        lambda device: device.write_multi([(0, 0, b"a")]),
        user.WRITE_MULTI.pack(2),
        "2 of 1 writes",
    ),
    "io descriptors of another region": (
        lambda device: device.region_io_fds(2),
        user.REGION_IO_FDS.pack(16, 0, 3, 0),
        "region 3",
    ),
    "migration data that is less than it says": (
        lambda device: read_state(device, 8),
        vfio.IRQ_INFO.pack(16, 8, 0, 0)[:12],
        "size 8 and 4 bytes",
    ),
    "a payload behind migration data": (lambda device: write_state(device, b"abc"), b"x", "1 bytes"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_that_contradict_themselves(name: str) -> None:
    """They are Malformed, and the connection goes on: the messages themselves are whole."""
    call, payload, words = STRUCTURES[name]

    def script(peer: Peer) -> None:
        for answer in (payload, ACCESS(0, 0, 1) + b"a"):
            message_id, command, _ = peer.receive()
            peer.send(user.reply(message_id, command, answer))

    with scripted(script) as made:
        with pytest.raises(Malformed, match=words):
            call(made.device)
        assert made.device.read(0, 0, 1) == b"a"


VERSIONS = {
    "a newer major": (user.VERSION.pack(1, 0), "answered with 1.0"),
    "a newer minor": (user.VERSION.pack(0, 2), "answered with 0.2"),
    "nothing": (b"", "no version"),
    "no end": (user.VERSION.pack(0, 1) + b"{}", "no version"),
    "no JSON": (user.VERSION.pack(0, 1) + b"{\0", "no version"),
    "no number": (user.VERSION.pack(0, 1) + b'{"capabilities":{"max_msg_fds":"8"}}\0', "no version"),
    "no page sizes": (user.VERSION.pack(0, 1) + b'{"capabilities":{"pgsizes":0}}\0', "pgsizes 0"),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_of_a_version(name: str) -> None:
    answer, words = VERSIONS[name]
    with answering_version(answer) as ours, pytest.raises(ProtocolError, match=words):
        open_connected(ours)


def test_what_a_server_says_of_itself() -> None:
    said = (
        b'{"capabilities":{"max_msg_fds":3,"max_data_xfer_size":256,"max_dma_maps":5,"pgsizes":69632,'
        b'"write_multiple":true,"another":{}}}\0'
    )
    with answering_version(user.VERSION.pack(0, 0) + said) as ours:
        made = open_connected(ours)
        server = made.device.server
        assert (server.minor, server.max_msg_fds, server.max_data_xfer_size) == (0, 3, 256)
        assert (server.max_dma_maps, server.page_sizes, server.write_multiple) == (5, 0x11000, True)
        assert (made.dma.info().page_sizes, made.dma.info().available) == (0x11000, 5)
        made.close()


def test_descriptors_where_none_belong_are_told_and_closed() -> None:
    def script(peer: Peer) -> None:
        message_id, command, _ = peer.receive()
        reader, writer = os.pipe()
        socket.send_fds(peer.connection, [user.reply(message_id, command)], [reader, writer])
        os.close(reader)
        os.close(writer)

    with scripted(script) as made, pytest.raises(ProtocolError, match="2 descriptors"):
        made.device.reset()


def test_an_answer_to_nothing(new_eventfd: Callable[[], int]) -> None:
    with (
        scripted(lambda peer: peer.send(user.reply(9, RESET))) as made,
        pytest.raises(ProtocolError, match="nothing was asked, and there came a reply to DEVICE_RESET"),
    ):
        made.device.wait_readable(new_eventfd(), 5)


def test_errnos_of_a_connection_are_refusals_where_the_server_says_them() -> None:
    def script(peer: Peer) -> None:
        for number in (110, 104, 0):
            message_id, command, _ = peer.receive()
            peer.send(user.error_reply(message_id, command, number))

    with scripted(script) as made:
        for number in (110, 104, 5):
            with pytest.raises(OSError, match="refused REGION_READ") as raised:
                made.device.read(0, 0, 1)
            assert raised.value.errno == number
            assert not isinstance(raised.value, (ConnectionError, TimeoutError))
