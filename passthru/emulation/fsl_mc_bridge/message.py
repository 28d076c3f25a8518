# SPDX-License-Identifier: GPL-2.0-or-later
"""A command to the Management Complex, or its answer: 64 bytes, as they are in a portal.

A header of 8 bytes (source, hardware flags, status, software flags, u16 token, u16 command: code << 4 | version), and
seven words of parameters. Source: include/linux/fsl/mc.h, drivers/bus/fsl-mc/mc-sys.c.
"""

from __future__ import annotations

from struct import pack_into, unpack_from

SIZE, HEADER = 64, 8
PARAMETERS = SIZE - HEADER
_STATUS, _TOKEN, _COMMAND = 2, 4, 6


class Message:
    """``data`` are all 64 bytes; offsets count from the first parameter."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def header(self) -> int:
        """The first eight bytes."""
        return int.from_bytes(self.data[:HEADER], "little")

    @property
    def parameters(self) -> bytes:
        """The others."""
        return self.data[HEADER:]

    @property
    def status(self) -> int:
        """See `management_complex.status`."""
        return self.data[_STATUS]

    @property
    def token(self) -> int:
        """The session that it belongs to."""
        return self._half(_TOKEN)

    @property
    def code(self) -> int:
        """The command, without its version."""
        return self._half(_COMMAND) >> 4

    def byte(self, offset: int) -> int:
        """One byte of the parameters."""
        return self.data[HEADER + offset]

    def word(self, offset: int) -> int:
        """Four bytes."""
        value: int = unpack_from("<I", self.data, HEADER + offset)[0]
        return value

    def long(self, offset: int) -> int:
        """Eight bytes."""
        value: int = unpack_from("<Q", self.data, HEADER + offset)[0]
        return value

    def text(self, offset: int) -> str:
        """The name of a type, 16 bytes."""
        return self.parameters[offset : offset + 16].split(b"\0")[0].decode("ascii", "replace")

    def changed(self, *parts: tuple[int, str, int]) -> Message:
        """The same with other parameters: each part is an offset, a format of `struct` and a value."""
        made = bytearray(self.data)
        for offset, layout, value in parts:
            pack_into(f"<{layout}", made, HEADER + offset, value)
        return Message(bytes(made))

    def answered(self, status: int, *parts: tuple[int, str, int]) -> Message:
        """The answer to it with these parameters, and 0 for all others."""
        made = bytearray(self.data[:HEADER]) + bytes(PARAMETERS)
        made[_STATUS] = status
        return Message(bytes(made)).changed(*parts)

    def _half(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 2], "little")
