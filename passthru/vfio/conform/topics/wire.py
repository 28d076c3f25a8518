# SPDX-License-Identifier: GPL-2.0-or-later
"""vfio-user's messages themselves: their order, their ids, and those that are not as they should be."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.conform import places
from passthru.vfio.conform.registry import test
from passthru.vfio.linux_vfio_features import DEVICE_FEATURE
from passthru.vfio.user.device import UserDevice
from passthru.vfio.user.errors import Refused
from passthru.vfio.user.exchange import Answer
from passthru.vfio.user.target import UserTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.vfio.conform.case import Case
    from passthru.vfio.stubs.stub import Part
    from passthru.vfio.user.connection import Connection

_HEADER = "Header in vfio-user.rst"
_ORDER = "Command Concurrency in vfio-user.rst"
_VERSION = "VFIO_USER_VERSION in vfio-user.rst"
_ACCESS = "Read and Write Operations in vfio-user.rst"

_NO_COMMANDS = (0, user.VFIO_USER_DIRTY_PAGES, 19, 0x7FFF, 0xFFFF)
_INFO = vfio.DEVICE_INFO.pack(vfio.DEVICE_INFO.size, 0, 0, 0)
_STRUCTURES = {
    user.VFIO_USER_DMA_MAP: user.DMA_MAP.size,
    user.VFIO_USER_DMA_UNMAP: user.DMA_UNMAP.size,
    user.VFIO_USER_DEVICE_GET_INFO: vfio.DEVICE_INFO.size,
    user.VFIO_USER_DEVICE_GET_REGION_INFO: vfio.REGION_INFO.size,
    user.VFIO_USER_DEVICE_GET_IRQ_INFO: vfio.IRQ_INFO.size,
    user.VFIO_USER_DEVICE_SET_IRQS: vfio.IRQ_SET.size,
    user.VFIO_USER_REGION_READ: user.REGION_ACCESS.size,
    user.VFIO_USER_REGION_WRITE: user.REGION_ACCESS.size,
    user.VFIO_USER_DEVICE_FEATURE: DEVICE_FEATURE.size,
}


@test("vfio-user", cites=_ORDER)
def commands_are_answered_in_their_order(case: Case) -> None:
    """Commands that are sent one behind the other are carried out, and answered, in that order."""
    device = _device(case)
    number = device.info().num_regions
    asked = [vfio.REGION_INFO.pack(vfio.REGION_INFO.size, 0, index, 0, 0, 0) for index in range(number)] * 3
    answers = device.connection.ask_all((user.VFIO_USER_DEVICE_GET_REGION_INFO, each) for each in asked)
    for place, answer in enumerate(answers):
        if isinstance(answer, Answer):
            index = int.from_bytes(answer.payload[8:12], "little")
            case.expect(index == place % number, f"asked for region {place % number}, the answer is of region {index}")


@test("vfio-user", "stub.scratch", cites=_ORDER)
def a_write_without_a_reply_is_done_before_the_next_read(case: Case) -> None:
    """What is written without a reply is there when the next command is carried out, and nothing answers it."""
    device, part = _device(case), _scratch(case)
    with places.restored(device, part):
        for value in (b"\x00", b"\xff", b"\x5a"):
            data = value * part.width
            device.write_posted(part.region, part.offset, data)
            found = device.read(part.region, part.offset, part.width)
            case.expect(found == data, f"wrote {data.hex()} without a reply, read {found.hex()}")


@test("vfio-user", "stub.scratch", cites="VFIO_USER_REGION_WRITE_MULTI in vfio-user.rst")
def gathered_writes_are_all_done(case: Case) -> None:
    """REGION_WRITE_MULTI does all of its writes, in their order, where the server offers it."""
    device, part = _device(case), _scratch(case)
    if not device.server.write_multiple:
        case.missing("the server does not offer write_multiple")
    with places.restored(device, part):
        data = [value * part.width for value in (b"\x11", b"\x22", b"\x33")]
        done = device.write_multi([(part.region, part.offset, each) for each in data])
        found = device.read(part.region, part.offset, part.width)
        case.expect((done, found) == (3, data[-1]), f"{done} of 3 writes were done, the last left {found.hex()}")


@test("vfio-user", cites=_HEADER + ": the id is echoed, and the receiver assumes nothing of it")
def any_message_id_is_echoed(case: Case) -> None:
    """A reply has the id of its command, whatever that is, twice the same one too."""
    connection = _device(case).connection
    for message_id in (0, 0xFFFF, 0x8000, 7, 7):
        connection.send_raw(user.command(message_id, user.VFIO_USER_DEVICE_GET_INFO, _INFO))
        reply = connection.receive_raw()
        case.expect(
            (reply.message_id, reply.command) == (message_id, user.VFIO_USER_DEVICE_GET_INFO),
            f"the command with id {message_id} was answered by {reply}",
        )


@test("vfio-user", cites=_HEADER + ": No_reply")
def what_wants_no_reply_gets_none(case: Case) -> None:
    """A command with NO_REPLY is not answered, one that is refused neither."""
    connection = _device(case).connection
    for number, payload in ((1, _INFO), (2, b"")):
        connection.send_raw(user.command(number, user.VFIO_USER_DEVICE_GET_INFO, payload, user.NO_REPLY))
    connection.send_raw(user.command(3, user.VFIO_USER_DEVICE_GET_INFO, _INFO))
    reply = connection.receive_raw()
    case.expect(reply.message_id == 3, f"two commands wanted no reply, and there came {reply}")


@test("vfio-user", cites="Commands in vfio-user.rst")
def unknown_commands_are_refused(case: Case) -> None:
    """A command that there is not, or that only servers send, is refused, and the connection goes on."""
    for command in (*_NO_COMMANDS, user.VFIO_USER_DMA_READ, user.VFIO_USER_DMA_WRITE):
        _refused(case, command, bytes(64), f"command {command}")
    case.device.info()


@test("vfio-user", cites=_HEADER)
def replies_that_nobody_awaits_do_no_harm(case: Case) -> None:
    """A reply to nothing is not answered, or refused; the next command is served."""
    connection = _device(case).connection
    connection.send_raw(user.reply(9, user.VFIO_USER_DMA_READ, bytes(16)))
    connection.send_raw(user.command(10, user.VFIO_USER_DEVICE_GET_INFO, _INFO))
    reply = connection.receive_raw()
    if reply.message_id == 9 and reply.flags & user.ERROR:
        reply = connection.receive_raw()
    case.expect(reply.message_id == 10 and not reply.flags & user.ERROR, f"a command after it was answered by {reply}")


@test("vfio-user", cites="the structures of the commands in vfio-user.rst")
def messages_that_are_too_short_are_refused(case: Case) -> None:
    """A command that ends within its structure is refused, and the connection goes on."""
    for command, size in _STRUCTURES.items():
        for length in (0, size // 2, size - 1):
            payload = size.to_bytes(4, "little") + bytes(size - 4)
            _refused(case, command, payload[:length], f"{user.COMMAND_NAMES[command]} of {length} bytes of {size}")
    case.device.info()


@test("vfio-user", "stub.scratch", cites=_ACCESS)
def a_write_with_less_data_than_it_says_is_refused(case: Case) -> None:
    """A REGION_WRITE whose count is not that of its data is refused, and nothing is written."""
    device, part = _device(case), _scratch(case)
    with places.restored(device, part):
        before = b"\x3c" * part.width
        device.write(part.region, part.offset, before)
        head = user.REGION_ACCESS.pack(part.offset, part.region, part.width)
        for data in (b"", bytes(part.width + 1)):
            _refused(
                case,
                user.VFIO_USER_REGION_WRITE,
                head + data,
                f"a write of {part.width} bytes with {len(data)} of data",
            )
            found = device.read(part.region, part.offset, part.width)
            case.expect(found == before, f"a refused write changed {before.hex()} to {found.hex()}")


@test("vfio-user", cites=_VERSION + ": the initial message")
def a_version_is_agreed_upon_once(case: Case) -> None:
    """VERSION is refused once it was agreed upon."""
    _refused(case, user.VFIO_USER_VERSION, user.VERSION.pack(0, 0), "a second VERSION")
    case.device.info()


@test("vfio-user", cites=_VERSION + ": the initial message", fresh=True)
def the_version_comes_first(case: Case) -> None:
    """Before VERSION a command is refused, or ends the connection."""
    connection = _connect(case)
    with suppress(ConnectionError):
        connection.send_raw(user.command(1, user.VFIO_USER_DEVICE_GET_INFO, _INFO))
        reply = connection.receive_raw()
        case.expect(reply.flags & user.ERROR, f"DEVICE_GET_INFO before VERSION was answered by {reply}")


@test("vfio-user", cites=_VERSION, fresh=True)
def another_major_version_is_not_agreed_to(case: Case) -> None:
    """To a major version that there is not yet, the server does not agree."""
    connection = _connect(case)
    with suppress(ConnectionError):
        connection.send_raw(user.command(1, user.VFIO_USER_VERSION, user.VERSION.pack(0x7FFF, 0)))
        reply = connection.receive_raw()
        case.expect(reply.flags & user.ERROR, f"VERSION 32767.0 was answered by {reply}")


@test("vfio-user", cites=_VERSION, fresh=True)
def a_version_may_say_little_or_more(case: Case) -> None:
    """Version data are optional, unknown capabilities are passed over; the minor is not above the proposed one."""
    for data in (b"", b"{}\0", b'{"capabilities":{}}\0', b'{"capabilities":{"x-unknown":[{}]},"x-more":1}\0'):
        connection = _connect(case)
        answer = connection.ask(user.VFIO_USER_VERSION, user.VERSION.pack(0, 0) + data)
        major, minor = user.VERSION.unpack_from(answer.payload)
        case.expect((major, minor) == (0, 0), f"VERSION 0.0 with {data!r} was answered with {major}.{minor}")
        connection.ask(user.VFIO_USER_DEVICE_GET_INFO, _INFO)
        connection.close()


@test("vfio-user", cites=_HEADER + "; Security Considerations", fresh=True)
def a_size_that_cannot_be_harms_nobody_else(case: Case) -> None:
    """A header whose size is less than its own, or beyond all bounds, may end the connection and not the server."""
    for size in (0, 15, 0xFFFFFFFF):
        device = _device_of(case, case.open().device)
        with suppress(ConnectionError, TimeoutError, Refused):
            device.connection.send_raw(user.HEADER.pack(1, user.VFIO_USER_DEVICE_GET_INFO, size, 0, 0) + bytes(64))
            device.connection.send_raw(user.command(2, user.VFIO_USER_DEVICE_GET_INFO, _INFO))
            device.connection.receive_raw()
        device.close()
        _still_there(case)


@test("vfio-user", cites="Client Disconnection in vfio-user.rst", fresh=True)
def a_client_may_leave_within_a_message(case: Case) -> None:
    """A message that never ends is the end of its connection only."""
    message = user.command(1, user.VFIO_USER_DEVICE_GET_INFO, _INFO)
    for length in (1, user.HEADER.size, len(message) - 1):
        device = _device_of(case, case.open().device)
        device.connection.send_raw(message[:length])
        device.close()
        _still_there(case)


def _device(case: Case) -> UserDevice:
    return _device_of(case, case.device)


def _device_of(case: Case, device: object) -> UserDevice:
    if not isinstance(device, UserDevice):
        case.missing("the device is not reached by vfio-user")
    return device


def _connect(case: Case) -> Connection:
    """A connection that has said nothing yet; left at the end of the test."""
    if not isinstance(case.target, UserTarget):
        case.missing("the device is not reached by vfio-user")
    connection = case.target.connect()
    case.keep(connection.close)
    case.transcripts.append(connection.transcript)
    return connection


def _scratch(case: Case) -> Part:
    """One register, of as many bytes as an access has."""
    part = next(iter(places.scratch(case)))
    return type(part)(part.region, part.offset, part.width, part.width)


def _refused(case: Case, command: int, payload: bytes, what: str, descriptors: Sequence[int] = ()) -> None:
    try:
        answer = _device(case).connection.ask(command, payload, descriptors)
    except Refused:
        return
    case.fail(f"{what} was answered with {len(answer.payload)} bytes and not refused")


def _still_there(case: Case) -> None:
    opened = case.target.open()
    try:
        opened.device.info()
    finally:
        opened.close()
