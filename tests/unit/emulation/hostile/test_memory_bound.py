# SPDX-License-Identifier: GPL-2.0-or-later
"""No client chooses how much memory the server uses."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation import dma
from passthru.emulation.dma import MappedMemory
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import SECONDS
from tests.unit.emulation.hostile.adversary import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.emulation.client import Client
    from tests.unit.emulation.hostile.server import Server

MIB = 1 << 20
U32, U64 = (1 << 32) - 1, (1 << 64) - 1


def _huge_numbers(client: Client) -> None:
    for count in (1 << 31, U32):
        access = user.REGION_ACCESS.pack(0, scratch.MEMORY, count)
        for command in (user.VFIO_USER_REGION_READ, user.VFIO_USER_REGION_WRITE):
            assert client.call(command, access).error == "EINVAL"
        for data in (1, 2, 4):
            assert client.set_irqs(0x20 | data, 2, 0, count) == "EINVAL"
    for layout, command in ((vfio.REGION_INFO, 5), (vfio.IRQ_INFO, 7), (vfio.DEVICE_INFO, 4)):
        argsz = b"\xff" * 4 + bytes(layout.size - 4)
        reply = client.call(command, argsz)
        assert len(reply.payload) <= 64
        for descriptor in reply.descriptors:
            os.close(descriptor)
    assert client.call(user.VFIO_USER_REGION_WRITE_MULTI, user.WRITE_MULTI.pack(1 << 63)).error == "EINVAL"


def _large_messages(client: Client) -> None:
    for size in (MIB, 2 * MIB, user.MAX_MESSAGE_SIZE):
        client.connection.sendall(user.HEADER.pack(1, user.VFIO_USER_REGION_WRITE, size, 0, 0))
        rest = size - user.HEADER.size
        while rest:
            rest -= client.connection.send(bytes(min(rest, MIB)))
        assert client.receive().error == ("EINVAL" if size == MIB else "E2BIG")


def _many_replies_that_nobody_awaits(client: Client) -> None:
    for _ in range(32):
        client.connection.sendall(user.reply(1, user.VFIO_USER_DMA_READ, bytes(MIB)))
    client.read(scratch.REGISTERS, 0, 1)


def _doorbells(client: Client) -> None:
    client.map(0, PAGE)
    doorbell = b"".join(value.to_bytes(8, "little") for value in (0, 0, 4))
    for _ in range(5000):
        client.post(scratch.REGISTERS, scratch.COPY, doorbell)
    assert client.receive().command == user.VFIO_USER_DMA_WRITE


def _huge_transfers(client: Client) -> None:
    ram = os.memfd_create("ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(ram, 1 << 40)
    fcntl.fcntl(ram, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    assert client.map(0, 1 << 40, descriptors=[ram]) == ""
    assert client.map(1 << 40, 1 << 62) == ""
    os.close(ram)
    for source, size in ((0, 1 << 40), (0, (16 << 20) + 1), (1 << 40, 1 << 61), (U64 - 1, U64)):
        values = b"".join(value.to_bytes(8, "little") for value in (source, 0, size))
        client.write(scratch.REGISTERS, scratch.COPY, values)
        assert client.read(scratch.REGISTERS, scratch.STATUS, 1)[0] == errno.E2BIG


def _many_mappings(client: Client) -> None:
    """More than there may be, without a descriptor."""
    client.connection.settimeout(SECONDS)
    number, batch = dma.MAX_DMA_MAPS + 100, 1000
    answers = []
    for start in range(0, number, batch):
        numbers = range(start, min(start + batch, number))
        client.connection.sendall(
            b"".join(
                user.command(at & 0xFFFF, user.VFIO_USER_DMA_MAP, user.DMA_MAP.pack(32, 3, 0, at * PAGE, PAGE))
                for at in numbers
            )
        )
        answers += [client.receive().error for _ in numbers]
    assert answers == [""] * dma.MAX_DMA_MAPS + ["ENOSPC"] * 100


ATTACKS: dict[str, tuple[Callable[[Client], None], int]] = {
    "huge numbers": (_huge_numbers, 2 * MIB),
    "large messages": (_large_messages, 8 * MIB),
    "replies that nobody awaits": (_many_replies_that_nobody_awaits, 8 * MIB),
    "doorbells": (_doorbells, 2 * MIB),
    "huge transfers": (_huge_transfers, 2 * MIB),
    "many mappings": (_many_mappings, 32 * MIB),
}


@pytest.mark.parametrize(("attack", "most"), ATTACKS.values(), ids=ATTACKS)
def test_memory_is_bounded(server: Server, attack: Callable[[Client], None], most: int) -> None:
    """``most`` is what the peak may grow by: a few times the largest message that is taken (1 MiB)."""
    with server.client() as client:
        client.read(scratch.REGISTERS, 0, 1)
        before = server.resident()
        attack(client)
        grown = server.resident() - before
    assert grown <= most, f"{grown >> 10} KiB more than before"


def test_a_version_of_nested_json_is_not_parsed_at_any_length(server: Server) -> None:
    """1 MiB of empty lists became 30 MiB of objects."""
    with server.client():
        before = server.resident()
    text = b"[" + b"[]," * 349_000 + b"[]]\0"
    connection = server.connect()
    with connection:
        connection.sendall(user.command(1, user.VFIO_USER_VERSION, user.VERSION.pack(0, 0) + text))
        assert user.HEADER.unpack(connection.recv(16))[4] == errno.EINVAL
        assert server.resident() - before <= 6 * MIB


def test_mappings_of_shared_memory_leave_python_some_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives a process 65530 mappings; without the last of them allocations fail everywhere."""
    monkeypatch.setattr(dma, "MAX_SHARED_MAPS", 10)
    memory = MappedMemory(None)  # type: ignore[arg-type]  # no messages are sent
    ram = os.memfd_create("ram")
    os.ftruncate(ram, PAGE)
    for number in range(10):
        memory.map(number * PAGE, PAGE, 3, ram)
    with pytest.raises(OSError, match="too many") as raised:
        memory.map(10 * PAGE, PAGE, 3, ram)
    assert raised.value.errno == errno.ENOSPC
    memory.map(10 * PAGE, PAGE, 3)
    memory.unmap(3 * PAGE, PAGE)
    memory.map(11 * PAGE, PAGE, 3, ram)
    memory.clear()
    memory.map(0, PAGE, 3, ram)
    memory.clear()
    os.close(ram)


def test_transfers_in_the_smallest_parts_that_a_client_can_choose(client: Client) -> None:
    """The data grew byte by byte, each time copied anew."""
    pieces: list[bytes] = []

    def exchange(command: int, payload: bytes) -> bytes:
        pieces.append(payload)
        return payload + b"x"

    from passthru.emulation.vfio_user.dma_messages import DmaMessages

    assert DmaMessages(exchange, lambda: 1).dma_read(0, 1000) == b"x" * 1000
    assert len(pieces) == 1001
