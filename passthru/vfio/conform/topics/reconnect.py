# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device server keeps when its client leaves, what it lets go of, and how it reaches memory by messages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.registry import test
from passthru.vfio.device import READ_WRITE
from passthru.vfio.stubs.stub import DmaFault
from passthru.vfio.user.target import UserTarget

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import DmaSpace, Opened
    from passthru.vfio.stubs.stub import Stub
    from passthru.vfio.user.target import UserOpened

_LEAVING = "Client Disconnection in vfio-user.rst"
_MESSAGES = "VFIO_USER_DMA_READ and VFIO_USER_DMA_WRITE in vfio-user.rst"
_ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
_IOVA = 0x100000
_SIZE = 0x10000
_SOON = 0.05  # seconds that are enough for an interrupt that must not come


@test("vfio-user", "stub.scratch", cites=_LEAVING + ": the device state should otherwise be retained", fresh=True)
def a_new_client_finds_the_device_as_it_was_left(case: Case) -> None:
    """Registers keep what they hold from one client to the next."""
    first = case.open()
    part = case.stub_of(first).scratch[0]
    data = bytes(range(0x41, 0x41 + part.width))
    before = first.device.read(part.region, part.offset, part.width)
    first.device.write(part.region, part.offset, data)
    first.close()
    second = case.open()
    found = second.device.read(part.region, part.offset, part.width)
    second.device.write(part.region, part.offset, before)
    case.expect(found == data, f"the first client left {data.hex()}, the second found {found.hex()}")


@test("vfio-user", "stub.interrupt", cites=_LEAVING + ": all IRQ descriptors are closed", fresh=True)
def a_client_takes_its_eventfds_along(case: Case) -> None:
    """An eventfd of a client that left is signalled no more."""
    old, new = case.eventfd(), case.eventfd()
    first = case.open()
    index = next(iter(case.stub_of(first).interrupts))
    first.device.set_irqs(_ASSIGN, index, descriptors=[old])
    first.close()
    second = case.open()
    stub = case.stub_of(second)
    second.device.set_irqs(_ASSIGN, index, descriptors=[new])
    case.signals(old)
    stub.interrupt(index)
    case.expect(case.signals(new, stub.SECONDS, second.device), "the eventfd of the new client was not signalled")
    case.expect(not case.signals(old), "the eventfd of the client that left was signalled")
    stub.quiet()


@test("vfio-user", "stub.copy", cites=_LEAVING + ": all client memory regions are unmapped", fresh=True)
def a_client_takes_its_memory_along(case: Case) -> None:
    """The memory of a client that left is out of the device's reach."""
    buffer = case.buffer(_SIZE)
    first = case.open()
    case.stub_of(first)
    first_dma = _dma(case, first)
    first_dma.map(_IOVA, _SIZE, buffer.descriptor)
    first.close()
    second = case.open()
    stub = case.stub_of(second)
    buffer.memory[:16] = b"left by a client"
    faulted = False
    try:
        stub.copy(_IOVA, _IOVA + _SIZE // 2, 16)
    except (DmaFault, TimeoutError):
        faulted = True
    case.expect(faulted or not stub.tells_faults, "the device told that it reached the memory of a client that left")
    found = bytes(buffer.memory[_SIZE // 2 : _SIZE // 2 + 16])
    case.expect(found == bytes(16), f"the device wrote {found!r} to the memory of a client that left")


@test("vfio-user", "stub.copy", cites=_MESSAGES, fresh=True)
def memory_without_a_descriptor_is_reached_by_messages(case: Case) -> None:
    """What is mapped without a descriptor is read and written by DMA_READ and DMA_WRITE."""
    _copy_by_messages(case, _by_messages(case))


@test(
    "vfio-user",
    "stub.copy",
    cites="Socket in vfio-user.rst: it is illegal to stall replies while waiting for replies on the other channel",
    fresh=True,
)
def no_reply_waits_for_dma(case: Case) -> None:
    """A command is answered before the server waits for memory: a VMM may hold a lock until then."""
    opened = _by_messages(case)
    opened.device.connection.serves_while_waiting = False
    _copy_by_messages(case, opened)


@test("vfio-user", "stub.copy", cites=_MESSAGES + "; VFIO_USER_DMA_UNMAP", fresh=True)
def what_was_unmapped_is_not_asked_for(case: Case) -> None:
    """After DMA_UNMAP the server asks for none of that memory, and tells the device's driver of a fault."""
    opened = _by_messages(case)
    stub = _prepared(case, opened)
    buffer = case.buffer(_SIZE)
    opened.dma.map(_IOVA, _SIZE, buffer.descriptor)
    stub.copy(_IOVA, _IOVA + _SIZE // 2, 16)
    opened.dma.unmap(_IOVA, _SIZE)
    faulted = False
    opened.device.transcript.clear()
    try:
        stub.copy(_IOVA, _IOVA + _SIZE // 2, 16)
    except (DmaFault, TimeoutError):
        faulted = True
    asked = [line for line in opened.device.transcript.lines() if line.startswith("the server's")]
    case.expect(not asked, f"after DMA_UNMAP there came {asked[:1]}")
    case.expect(faulted or not stub.tells_faults, "the device told of no fault")


def _by_messages(case: Case) -> UserOpened:
    """The target, opened so that its server has no descriptors of our memory; closed at the end."""
    if not isinstance(case.target, UserTarget):
        case.missing("the device is not reached by vfio-user")
    opened = replace(case.target, descriptors=False).open()
    case.keep(opened.close)
    case.transcripts.append(opened.device.transcript)
    return opened


def _prepared(case: Case, opened: Opened) -> Stub:
    stub = case.stub_of(opened)
    if stub.workspace_size:
        case.missing("the stub needs memory of its own, which other tests lend it")
    return stub


def _dma(case: Case, opened: Opened) -> DmaSpace:
    if opened.dma is None:
        case.missing("the device reaches no memory of ours")
    return opened.dma


def _copy_by_messages(case: Case, opened: UserOpened) -> None:
    stub = _prepared(case, opened)
    buffer = case.buffer(_SIZE)
    opened.dma.map(_IOVA, _SIZE, buffer.descriptor, 0, READ_WRITE)
    size = min(stub.largest_copy, _SIZE // 2, 3 * 4096 + 5)
    data = case.random.randbytes(size)
    buffer.memory[:size] = data
    stub.copy(_IOVA, _IOVA + _SIZE // 2, size)
    found = bytes(buffer.memory[_SIZE // 2 : _SIZE // 2 + size])
    case.expect(found == data, f"of {size} bytes that were copied by messages, {_wrong(found, data)} are not the same")
    with suppress(OSError):
        opened.dma.unmap(_IOVA, _SIZE)


def _wrong(found: bytes, data: bytes) -> int:
    return sum(one != other for one, other in zip(found, data, strict=True))
