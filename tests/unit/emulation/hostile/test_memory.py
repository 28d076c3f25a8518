# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that take back the memory that they share, and ours."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.hostile.adversary import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.emulation.client import Client
    from tests.unit.emulation.hostile.server import Server

PAGES = 300  # more than what is copied at once


@pytest.fixture
def ram(nothing_stays_open: None) -> Iterator[int]:
    """RAM that can be cut; each page is filled with its number."""
    descriptor = os.memfd_create("ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, b"".join(bytes((page & 0xFF,)) * PAGE for page in range(PAGES)))
    yield descriptor
    os.close(descriptor)


def _copy(client: Client, source: int, target: int, size: int) -> int:
    """DMA from one address to another; its errno, 0 without one."""
    values = b"".join(value.to_bytes(8, "little") for value in (source, target, size))
    client.write(scratch.REGISTERS, scratch.COPY, values)
    return client.read(scratch.REGISTERS, scratch.STATUS, 1)[0]


@pytest.mark.parametrize("sealed", [False, True])
def test_whole_transfers_go_through_either_kind_of_memory(client: Client, ram: int, sealed: bool) -> None:
    if sealed:
        fcntl.fcntl(ram, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    half = PAGES // 2 * PAGE
    assert client.map(0x10000, PAGES * PAGE, descriptors=[ram]) == ""
    assert _copy(client, 0x10000 + 1, 0x10000 + half + 3, half - 5) == 0
    whole = os.pread(ram, PAGES * PAGE, 0)
    assert whole[half + 3 : 2 * half - 2] == whole[1 : half - 4]
    assert whole[half : half + 3] == bytes((PAGES // 2,)) * 3
    assert whole[-2:] == bytes(((PAGES - 1) & 0xFF,)) * 2


@pytest.mark.parametrize(("source", "target"), [(0, 8 * PAGE), (8 * PAGE, 0), (6 * PAGE, 0), (0, 6 * PAGE)])
def test_memory_that_was_cut_off_is_an_error_of_the_transfer(
    server: Server, ram: int, source: int, target: int
) -> None:
    """The touch of a page that a truncated memfd no longer has was SIGBUS, and the end of the server."""
    with server.client() as client:
        assert client.map(0, PAGES * PAGE, descriptors=[ram]) == ""
        assert _copy(client, source, target, 4 * PAGE) == 0
        os.ftruncate(ram, 8 * PAGE)
        assert _copy(client, source, target, 4 * PAGE) == errno.EFAULT
        assert _copy(client, 0, PAGE, PAGE) == 0  # what is left can be reached
        os.ftruncate(ram, PAGES * PAGE)
        assert _copy(client, source, target, 4 * PAGE) == 0  # and what has come back


def test_memory_that_comes_and_goes_while_it_is_used(server: Server, ram: int) -> None:
    done = threading.Event()

    def cut() -> None:
        while not done.is_set():
            os.ftruncate(ram, PAGE)
            os.ftruncate(ram, PAGES * PAGE)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        with server.client() as client:
            results: set[int] = set()
            while client.map(0, PAGES * PAGE, descriptors=[ram]) == "EINVAL":  # it was short at that moment
                continue
            for _ in range(300):
                results.add(_copy(client, 0, PAGES // 2 * PAGE, PAGES // 2 * PAGE))
    finally:
        done.set()
        thread.join()
    assert results <= {0, errno.EFAULT}
    assert errno.EFAULT in results


def test_memory_that_cannot_shrink_cannot_be_cut_off(server: Server, ram: int) -> None:
    fcntl.fcntl(ram, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with server.client() as client:
        assert client.map(0, PAGES * PAGE, descriptors=[ram]) == ""
        with pytest.raises(PermissionError):
            os.ftruncate(ram, PAGE)
        assert _copy(client, 0, 8 * PAGE, 8 * PAGE) == 0


def test_holes_are_zeros(server: Server, ram: int) -> None:
    fcntl.fcntl(ram, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with server.client() as client:
        assert client.map(0, PAGES * PAGE, descriptors=[ram]) == ""
        with mmap.mmap(ram, PAGES * PAGE) as view:
            view.madvise(mmap.MADV_REMOVE, 0, 8 * PAGE)
            assert _copy(client, PAGE, 16 * PAGE, PAGE) == 0
            assert view[16 * PAGE : 17 * PAGE] == bytes(PAGE)


@pytest.mark.parametrize("seal", [fcntl.F_SEAL_WRITE, 0x10])  # 0x10 is F_SEAL_FUTURE_WRITE
def test_memory_that_is_sealed_against_writes_can_only_be_read(client: Client, ram: int, seal: int) -> None:
    fcntl.fcntl(ram, fcntl.F_ADD_SEALS, seal)
    assert client.map(0, PAGE, descriptors=[ram]) == "EPERM"
    assert client.map(0, PAGE, flags=iommu.VFIO_DMA_MAP_FLAG_READ, descriptors=[ram]) == ""
    assert _copy(client, 0, 8, 1) == errno.EACCES


def test_the_devices_own_memory_cannot_be_cut_off(server: Server) -> None:
    """A client could truncate the memfd of a region that it maps; the next access ended the server."""
    with server.client() as client:
        info = vfio.REGION_INFO.pack(1 << 16, 0, scratch.MEMORY, 0, 0, 0)
        (region,) = client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, info).descriptors
        for size in (0, PAGE, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(region, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(region, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        os.close(region)
        client.write(scratch.MEMORY, 0x2FFF, b"x")
        assert client.read(scratch.MEMORY, 0x2FFF, 1) == b"x"


def test_files_that_are_no_ram_are_reached_by_messages(client: Client, tmp_path: Path) -> None:
    """A file system of the client's own could make us wait in a touch of its pages for as long as it likes."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(PAGE))
    with path.open("r+b") as file:
        if _is_ram(file.fileno()):
            pytest.skip("temporary files are in RAM here")
        assert client.map(0, PAGE, descriptors=[file.fileno()]) == ""
    values = b"".join(value.to_bytes(8, "little") for value in (0, 8, 4))
    client.write(scratch.REGISTERS, scratch.COPY, values)
    request = client.receive()
    assert request.command == user.VFIO_USER_DMA_WRITE
    client.connection.sendall(user.error_reply(request.message_id, request.command, errno.EPERM))
    request = client.receive()
    assert request.command == user.VFIO_USER_DMA_READ
    client.connection.sendall(user.error_reply(request.message_id, request.command, errno.EPERM))
    assert client.read(scratch.REGISTERS, scratch.STATUS, 1)[0] == errno.EPERM


def _is_ram(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True
