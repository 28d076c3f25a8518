# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's own commands, DMA_READ and DMA_WRITE, answered from the memory that is mapped."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from passthru.vfio.user.errors import ProtocolError

if TYPE_CHECKING:
    from passthru.vfio.user.memory import ServedMemory

LONGEST = 1 << 20  # bytes in a message, as we say in VERSION


def answer(memory: ServedMemory, message_id: int, command: int, payload: bytes) -> bytes:
    """The reply to a command of the server; raises ProtocolError for what is no command of a server."""
    name = user.COMMAND_NAMES.get(command, f"command {command}")
    if command not in (user.VFIO_USER_DMA_READ, user.VFIO_USER_DMA_WRITE):
        raise ProtocolError(f"the device server sent the command {name}, which only clients send")
    if len(payload) < user.DMA_ACCESS.size:
        raise ProtocolError(f"the device server sent {name} with {len(payload)} bytes where 16 are the least")
    address, count = user.DMA_ACCESS.unpack_from(payload)
    data = payload[user.DMA_ACCESS.size :]
    if len(data) != (count if command == user.VFIO_USER_DMA_WRITE else 0):
        raise ProtocolError(
            f"the device server sent {name} of {count} bytes at {address:#x} with {len(data)} bytes of data"
        )
    head = user.DMA_ACCESS.pack(address, count)
    try:
        if count > LONGEST:
            raise OSError(errno.E2BIG, f"{count} bytes in a message, where {LONGEST} are the most")
        if command == user.VFIO_USER_DMA_READ:
            return user.reply(message_id, command, head + memory.read(address, count))
        memory.write(address, data)
    except OSError as error:
        return user.error_reply(message_id, command, error.errno or errno.EIO)
    return user.reply(message_id, command, head)
