# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a server answers, a call returns or raises what it may raise, at once, and leaves nothing open."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.malformed import Malformed
from passthru.vfio.user.incoming import close_all
from passthru.vfio.user.migration import read_state
from passthru.vfio.user.target import open_connected
from tests.unit.emulation.client import open_descriptors
from tests.unit.vfio.user.servers import SECONDS, VERSION_ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.user.target import UserOpened

FIRST_ID = 2  # that of the call after VERSION
REGION = vfio.REGION_INFO.pack(64, 0xF, 0, 32, 0x2000, 0) + vfio.INFO_CAP_HEADER.pack(1, 1, 0)
REGION += vfio.SPARSE_MMAP.pack(1, 0) + vfio.SPARSE_MMAP_AREA.pack(0, 0x1000)

CALLS: dict[str, tuple[Callable[[UserOpened], object], int, bytes]] = {
    "read": (
        lambda made: made.device.read(0, 4, 4),
        user.VFIO_USER_REGION_READ,
        user.REGION_ACCESS.pack(4, 0, 4) + b"abcd",
    ),
    "write": (
        lambda made: made.device.write(0, 4, b"abcd"),
        user.VFIO_USER_REGION_WRITE,
        user.REGION_ACCESS.pack(4, 0, 4),
    ),
    "info": (
        lambda made: made.device.info(),
        user.VFIO_USER_DEVICE_GET_INFO,
        vfio.DEVICE_INFO.pack(16, 2, 9, 5),
    ),
    "region": (lambda made: made.device.region_info(0), user.VFIO_USER_DEVICE_GET_REGION_INFO, REGION),
    "map": (lambda made: made.device.map(0, 0, 0x1000).close(), user.VFIO_USER_DEVICE_GET_REGION_INFO, REGION),
    "irq": (lambda made: made.device.irq_info(0), user.VFIO_USER_DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO.pack(16, 7, 0, 1)),
    "io": (
        lambda made: close_all(made.device.region_io_fds(0)[1]),
        user.VFIO_USER_DEVICE_GET_REGION_IO_FDS,
        user.REGION_IO_FDS.pack(16, 0, 0, 0),
    ),
    "unmap": (
        lambda made: made.dma.unmap(0, 0x1000),
        user.VFIO_USER_DMA_UNMAP,
        user.DMA_UNMAP.pack(24, 0, 0, 0x1000),
    ),
    "state": (lambda made: read_state(made.device, 4), user.VFIO_USER_MIG_DATA_READ, b"\x0c\0\0\0\4\0\0\0abcd"),
    "feature": (
        lambda made: made.device.feature(1 | 1 << 16, bytes(8)),
        user.VFIO_USER_DEVICE_FEATURE,
        vfio.IRQ_INFO.pack(16, 1 | 1 << 16, 3, 0),
    ),
}


def _changed(message: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    made = bytearray(message)
    for at, value in changes:
        made[at % len(made)] ^= value
    return bytes(made[: len(made) - cut]) if cut else bytes(made)


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 8),
    descriptors=st.integers(0, 3),
    behind=st.binary(max_size=40),
)
def test_answers_at_random(
    name: str, changes: list[tuple[int, int]], cut: int, descriptors: int, behind: bytes
) -> None:
    call, command, payload = CALLS[name]
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    memory = os.memfd_create("region")
    os.ftruncate(memory, 0x2000)
    with theirs:
        theirs.sendall(user.reply(1, user.VFIO_USER_VERSION, VERSION_ANSWER))
        for number in range(2):
            answer = _changed(user.reply(FIRST_ID + number, command, payload), changes, cut)
            socket.send_fds(theirs, [answer], [memory] * descriptors)
        os.close(memory)
        theirs.sendall(behind)
        theirs.shutdown(socket.SHUT_WR)  # so that nothing is waited for
        made = open_connected(ours)
        begun = time.monotonic()
        with contextlib.suppress(OSError, Malformed):
            call(made)
        assert time.monotonic() - begun < SECONDS
        made.close()
    assert open_descriptors() == before
