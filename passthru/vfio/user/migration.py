# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's state as a stream, by MIG_DATA_READ and MIG_DATA_WRITE in place of the kernel's descriptor."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from passthru.vfio.answers import fields
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from passthru.vfio.user.device import UserDevice

# argsz, size; then data
MIG_DATA = Struct("<II")


def read_state(device: UserDevice, size: int) -> bytes:
    """The next ``size`` bytes of a device in a saving state; fewer where no more are to come. Raises OSError."""
    payload = MIG_DATA.pack(MIG_DATA.size + size, size)
    answer = device.connection.ask(user.VFIO_USER_MIG_DATA_READ, payload)
    argsz, came = fields("MIG_DATA_READ", MIG_DATA, answer.payload)
    data = answer.payload[MIG_DATA.size :]
    if came > size or len(data) != came or argsz != MIG_DATA.size + came:
        raise Malformed(
            f"MIG_DATA_READ of {size} bytes was answered with argsz {argsz}, size {came} and {len(data)} bytes of data"
        )
    return data


def write_state(device: UserDevice, data: bytes) -> None:
    """The next bytes for a device that is resuming. Raises OSError."""
    longest = device.server.max_data_xfer_size
    for at in range(0, len(data), longest):
        part = data[at : at + longest]
        payload = MIG_DATA.pack(MIG_DATA.size + len(part), len(part)) + part
        answer = device.connection.ask(user.VFIO_USER_MIG_DATA_WRITE, payload)
        if answer.payload:
            raise Malformed(f"MIG_DATA_WRITE was answered with {len(answer.payload)} bytes after the header")
