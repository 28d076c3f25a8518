# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to a device server: what `Exchange` does, and accesses to regions in a hurry.

A short access is two system calls and little else. Whatever is not as it should be, be it a refusal, goes by the way of
all other replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from passthru.vfio.user.errors import Refused, refusal
from passthru.vfio.user.exchange import Exchange

if TYPE_CHECKING:
    from typing import NoReturn

SHORT = 4096  # bytes of data; such a message is in the socket whole or not at all

_READ, _WRITE = user.VFIO_USER_REGION_READ, user.VFIO_USER_REGION_WRITE
_FRAME = user.REGION_MESSAGE.size  # header and region access


class Connection(Exchange):
    """A connected stream socket, which is the connection's from now on; VERSION is not yet agreed upon."""

    def read(self, region: int, offset: int, size: int) -> bytes:
        """REGION_READ of at most ``max_data_xfer_size`` bytes. Raises as `ask`."""
        if size > SHORT or self._receiver.held or self._waiting:
            return self._read_patiently(None, region, offset, size)
        self._id = message_id = self._id + 1 & 0xFFFF
        try:
            self._send(user.REGION_MESSAGE.pack(message_id, _READ, _FRAME, 0, 0, offset, region, size))
            reply = self._receive(_FRAME + size)
        except OSError as error:
            self._interrupted(error, ("REGION_READ", region, offset, size), size)
        good = user.REGION_MESSAGE.pack(message_id, _READ, _FRAME + size, 1, 0, offset, region, size)
        if reply[:_FRAME] == good and len(reply) == _FRAME + size:
            data = reply[_FRAME:]
            self._note(("REGION_READ", region, offset, size, "->", data))
            return data
        self._receiver.held = reply
        return self._read_patiently(message_id, region, offset, size)

    def write(self, region: int, offset: int, data: bytes) -> int:
        """REGION_WRITE of at most ``max_data_xfer_size`` bytes; returns how many were taken. Raises as `ask`."""
        size = len(data)
        if size > SHORT or self._receiver.held or self._waiting:
            return self._write_patiently(None, region, offset, data)
        self._id = message_id = self._id + 1 & 0xFFFF
        try:
            self._send(user.REGION_MESSAGE.pack(message_id, _WRITE, _FRAME + size, 0, 0, offset, region, size) + data)
            reply = self._receive(_FRAME)
        except OSError as error:
            self._interrupted(error, ("REGION_WRITE", region, offset, data), size)
        if reply == user.REGION_MESSAGE.pack(message_id, _WRITE, _FRAME, 1, 0, offset, region, size):
            self._note(("REGION_WRITE", region, offset, data))
            return size
        self._receiver.held = reply
        return self._write_patiently(message_id, region, offset, data)

    def _read_patiently(self, message_id: int | None, region: int, offset: int, size: int) -> bytes:
        """A read that is to be sent, or was sent as ``message_id``."""
        call = "REGION_READ", region, offset, size
        access = user.REGION_ACCESS.pack(offset, region, size)
        payload = self._access(message_id, _READ, access, call, size)
        _, _, count = user.REGION_ACCESS.unpack_from(payload)
        data = payload[user.REGION_ACCESS.size :]
        if len(data) != count:
            self._broken(
                f"{_words(call, size)} was answered with {len(data)} bytes of data where the reply says {count}"
            )
        self._note((*call, "->", data))
        return data

    def _write_patiently(self, message_id: int | None, region: int, offset: int, data: bytes) -> int:
        call = "REGION_WRITE", region, offset, data
        access = user.REGION_ACCESS.pack(offset, region, len(data)) + data
        payload = self._access(message_id, _WRITE, access, call, len(data))
        _, _, count = user.REGION_ACCESS.unpack_from(payload)
        if len(payload) != user.REGION_ACCESS.size:
            self._broken(
                f"{_words(call, len(data))} was answered with {len(payload)} bytes after the header, 16 are right"
            )
        self._note((*call, "->", count))
        return int(count)

    def _access(
        self, message_id: int | None, command: int, access: bytes, call: tuple[str, int, int, object], size: int
    ) -> bytes:
        """The payload of an access's reply, which is of the same place and no more than was asked."""
        _, region, offset, _ = call
        what = _words(call, size)
        try:
            sent = self._transmit(command, access) if message_id is None else message_id
            payload = self._finish(sent, command, what).payload
            if len(payload) < user.REGION_ACCESS.size:
                self._broken(f"{what} was answered with {len(payload)} bytes after the header, 16 are the least")
            at, index, count = user.REGION_ACCESS.unpack_from(payload)
            if (at, index) != (offset, region) or count > size:
                self._broken(f"{what} was answered for {count} bytes at {at:#x} of region {index}")
        except Refused as error:
            self._note((*call, error))
            raise refusal(error.errno or 0, what) from None
        except OSError as error:
            self._note((*call, error))
            raise
        return payload

    def _interrupted(self, error: OSError, call: tuple[str, int, int, object], size: int) -> NoReturn:
        """A system call failed in the middle of a short access."""
        try:
            self._lost(error, _words(call, size))
        except OSError as known:
            self._note((*call, known))
            raise


def _words(call: tuple[str, int, int, object], size: int) -> str:
    name, region, offset, _ = call
    return f"{name} of {size} bytes at {offset:#x} of region {region}"
