# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that a device sees: shared, or asked for by messages."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import user_messages as user
from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_UNMAP_FLAG_ALL
from passthru.vfio.malformed import Malformed
from passthru.vfio.stubs.dma_engine import DmaEngine as Stub
from passthru.vfio.stubs.stub import DmaFault, Identity
from tests.unit.vfio.user.servers import opened, scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.emulation.models.dma_engine import DmaEngine
    from passthru.vfio.buffer import Buffer
    from passthru.vfio.user.target import UserOpened
    from tests.unit.vfio.user.servers import Peer

IOVA = 0x1_0000_0000
SIZE = 0x4000
DATA = bytes(range(256)) * 8


@pytest.fixture(params=["descriptors", "messages"])
def device(request: pytest.FixtureRequest, engine_model: DmaEngine) -> Iterator[UserOpened]:
    """The DMA engine, its memory reached either way."""
    with opened(engine_model, descriptors=request.param == "descriptors") as made:
        yield made


def _stub(made: UserOpened) -> Stub:
    stub = Stub(made.device, Identity("pci"))
    stub.prepare()
    return stub


def test_a_device_copies(device: UserOpened, new_buffer: Callable[[int], Buffer]) -> None:
    stub, buffer = _stub(device), new_buffer(2 * SIZE)
    device.dma.map(IOVA, SIZE, buffer.descriptor, SIZE)
    buffer.memory[SIZE : SIZE + len(DATA)] = DATA
    stub.copy(IOVA, IOVA + 0x1000, len(DATA))
    assert buffer.memory[SIZE + 0x1000 : SIZE + 0x1000 + len(DATA)] == DATA
    assert buffer.memory[:SIZE] == bytes(SIZE)


def test_what_was_unmapped_is_out_of_reach(device: UserOpened, new_buffer: Callable[[int], Buffer]) -> None:
    stub, buffer = _stub(device), new_buffer(2 * SIZE)
    device.dma.map(IOVA, SIZE, buffer.descriptor)
    device.dma.map(IOVA + SIZE, SIZE, buffer.descriptor, SIZE)
    stub.copy(IOVA, IOVA + SIZE, 16)
    assert device.dma.unmap(IOVA, SIZE) == SIZE
    with pytest.raises(DmaFault):
        stub.copy(IOVA, IOVA + SIZE, 16)
    stub.copy(IOVA + SIZE, IOVA + SIZE + 32, 16)
    assert device.dma.unmap(0, 0, VFIO_DMA_UNMAP_FLAG_ALL) == SIZE
    with pytest.raises(DmaFault):
        stub.copy(IOVA + SIZE, IOVA + SIZE + 32, 16)


def test_memory_that_may_only_be_read(device: UserOpened, new_buffer: Callable[[int], Buffer]) -> None:
    stub, buffer = _stub(device), new_buffer(SIZE)
    device.dma.map(IOVA, SIZE, buffer.descriptor, 0, VFIO_DMA_MAP_FLAG_READ)
    buffer.memory[:4] = b"abcd"
    with pytest.raises(DmaFault, match="not permitted"):
        stub.copy(IOVA, IOVA + 8, 4)
    assert buffer.memory[8:12] == bytes(4)


def test_refusals(device: UserOpened, new_buffer: Callable[[int], Buffer]) -> None:
    buffer = new_buffer(SIZE)
    available = device.dma.info().available
    assert available is not None
    device.dma.map(IOVA, SIZE, buffer.descriptor)
    assert device.dma.info().available == available - 1
    for number, call in (
        (errno.EEXIST, lambda: device.dma.map(IOVA + 0x1000, 0x1000, buffer.descriptor)),
        (errno.EINVAL, lambda: device.dma.map(0, 0, buffer.descriptor)),
        (errno.EINVAL, lambda: device.dma.map(0, 0x1000, buffer.descriptor, 0, 1 << 7)),
        (errno.ENOENT, lambda: device.dma.unmap(IOVA, 0x1000)),
        (errno.EINVAL, lambda: device.dma.unmap(IOVA, SIZE, VFIO_DMA_UNMAP_FLAG_ALL)),
    ):
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno == number
    assert device.dma.info().available == available - 1
    assert device.dma.unmap(IOVA, SIZE) == SIZE


def test_dma_that_is_served_later_is_served(engine_model: DmaEngine, new_buffer: Callable[[int], Buffer]) -> None:
    """As QEMU does it: nobody gets at its memory while it waits for a reply."""
    buffer = new_buffer(SIZE)
    buffer.memory[:4] = b"abcd"
    with opened(engine_model, descriptors=False) as made:
        made.device.connection.serves_while_waiting = False
        made.dma.map(IOVA, SIZE, buffer.descriptor)
        _stub(made).copy(IOVA, IOVA + 0x1000, 4)
    assert buffer.memory[0x1000:0x1004] == b"abcd"


def _ask(peer: Peer, command: int, payload: bytes) -> bytes:
    """A command of the server and what is answered: flags, errno, payload."""
    peer.send(user.command(77, command, payload))
    head = peer.connection.recv(16)
    message_id, answered, size, flags, error = user.HEADER.unpack(head)
    assert (message_id, answered) == (77, command)
    return bytes((flags, error)) + (peer.connection.recv(size - 16) if size > 16 else b"")


def test_what_the_server_asks_is_answered_while_a_reply_is_awaited(new_buffer: Callable[[int], Buffer]) -> None:
    """Within the mappings: EFAULT outside, EACCES where it may not, E2BIG for too much; NO_REPLY gets none."""
    buffer = new_buffer(SIZE)
    buffer.memory[:4] = b"abcd"
    came = []
    read, write, access = user.VFIO_USER_DMA_READ, user.VFIO_USER_DMA_WRITE, user.DMA_ACCESS.pack

    def script(peer: Peer) -> None:
        for _ in range(2):
            message_id, command, _ = peer.receive()
            assert command == user.VFIO_USER_DMA_MAP
            peer.send(user.reply(message_id, command))
        message_id, command, _ = peer.receive()
        came.append(_ask(peer, read, access(IOVA, 4)))
        came.append(_ask(peer, write, access(IOVA + 0x1FFE, 4) + b"wxyz"))
        came.append(_ask(peer, write, access(IOVA + 0x2FFE, 4) + b"wxyz"))
        came.append(_ask(peer, read, access(IOVA + 0x2FFE, 4)))
        came.append(_ask(peer, read, access(IOVA - 1, 4)))
        came.append(_ask(peer, read, access(IOVA, (1 << 20) + 1)))
        peer.send(user.command(78, write, access(IOVA + 8, 2) + b"no", user.NO_REPLY))
        peer.send(user.reply(message_id, command, user.REGION_ACCESS.pack(0, 0, 1) + b"a"))

    with scripted(script) as made:
        made.dma.map(IOVA, 0x2000, buffer.descriptor)
        made.dma.map(IOVA + 0x2000, 0x1000, buffer.descriptor, 0x2000, VFIO_DMA_MAP_FLAG_READ)
        assert made.device.read(0, 0, 1) == b"a"
    answers = [(each[0], errno.errorcode.get(each[1], ""), each[2:]) for each in came]
    assert answers == [
        (0x01, "", access(IOVA, 4) + b"abcd"),
        (0x21, "EACCES", b""),
        (0x21, "EACCES", b""),
        (0x21, "EFAULT", b""),
        (0x21, "EFAULT", b""),
        (0x21, "E2BIG", b""),
    ]
    assert buffer.memory[:10] == b"abcd\0\0\0\0no"
    assert buffer.memory[0x1FFE:0x2002] == bytes(4)


def test_an_unmap_of_something_else_is_told(new_buffer: Callable[[int], Buffer]) -> None:
    def script(peer: Peer) -> None:
        for answer in (b"", user.DMA_UNMAP.pack(24, 0, IOVA, SIZE // 2)):
            message_id, command, _ = peer.receive()
            peer.send(user.reply(message_id, command, answer))

    with scripted(script) as made:
        made.dma.map(IOVA, SIZE, new_buffer(SIZE).descriptor)
        with pytest.raises(Malformed, match="was answered for 0x2000 bytes"):
            made.dma.unmap(IOVA, SIZE)
