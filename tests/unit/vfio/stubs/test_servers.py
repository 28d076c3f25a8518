# SPDX-License-Identifier: GPL-2.0-or-later
"""The stubs of the devices that passthru can be, by the very servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models import catalogue
from passthru.vfio.buffer import Buffer
from passthru.vfio.stubs.catalogue import stub_for
from passthru.vfio.stubs.pci import find_capability
from passthru.vfio.stubs.stub import DmaFault, Identity
from passthru.vfio.user.target import UserTarget
from tests.unit.vfio.conform.proxy import Line, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.stubs.stub import Stub
    from passthru.vfio.user.target import UserOpened


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[UserOpened]:
    """A device server's device, by the name of its model."""
    kind = catalogue()[request.param]
    device = kind(kind.Options())
    try:
        with listening(device, Line) as path:
            opened = UserTarget(path).open()
            try:
                yield opened
            finally:
                opened.close()
    finally:
        device.close()


def _stub(opened: UserOpened) -> Stub:
    ids = opened.device.read(7, 0, 4)
    identity = Identity("pci", int.from_bytes(ids[:2], "little"), int.from_bytes(ids[2:], "little"))
    kind = stub_for(identity)
    assert kind
    stub = kind(opened.device, identity)
    stub.prepare()
    return stub


@pytest.mark.parametrize("opened", ["mtty", "dma-engine"], indirect=True)
def test_scratch_keeps_what_is_written(opened: UserOpened) -> None:
    stub = _stub(opened)
    assert stub.scratch
    for part in stub.scratch:
        at = part.offset + part.size - part.width
        for value in (b"\xa5" * part.width, b"\x5a" * part.width):
            opened.device.write(part.region, at, value)
            assert opened.device.read(part.region, at, part.width) == value
    for part in stub.readable:
        reads = {opened.device.read(part.region, part.offset, part.width) for _ in range(3)}
        assert len(reads) == 1


@pytest.mark.parametrize("opened", ["mtty"], indirect=True)
def test_mtty_loops(opened: UserOpened) -> None:
    stub = _stub(opened)
    assert stub.loop(b"fifteen bytes!!") == b"fifteen bytes!!"
    assert stub.loop(b"x") == b"x"


@pytest.mark.parametrize("opened", ["dma-engine"], indirect=True)
def test_the_engine_copies_and_tells_of_faults(opened: UserOpened) -> None:
    stub, memory = _stub(opened), Buffer(8192)
    try:
        opened.dma.map(0x100000, 8192, memory.descriptor)
        for size in (1, 2, 3, 4096):
            memory.memory[:size] = bytes(number % 251 + 1 for number in range(size))
            stub.copy(0x100000, 0x101000, size)
            assert memory.memory[4096 : 4096 + size] == memory.memory[:size]
        with pytest.raises(DmaFault, match=r"at 0x103000 failed: nothing is mapped"):
            stub.copy(0x103000, 0x101000, 4)
        opened.dma.unmap(0x100000, 8192)
        opened.dma.map(0x100000, 8192, memory.descriptor, 0, 1)
        with pytest.raises(DmaFault, match=r"this direction is not permitted"):
            stub.copy(0x100000, 0x101000, 4)
    finally:
        memory.close()


@pytest.mark.parametrize("opened", ["dma-engine"], indirect=True)
def test_capabilities_are_found_in_the_chain(opened: UserOpened) -> None:
    assert find_capability(opened.device, 0x05) == 0x50
    assert find_capability(opened.device, 0x13) == 0x70
    assert find_capability(opened.device, 0x01) == 0
