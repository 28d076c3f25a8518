# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of a DPAA2 Management Complex, by the portal that is region 0 of a container (dprc) or of a dpmcp.

vfio-fsl-mc takes a command as one write of 64 bytes, waits for its end, and gives its answer as one read of 64 bytes.
Layouts and codes are those of <linux/fsl/mc.h> and drivers/bus/fsl-mc: a header of 8 bytes (source, flags, status,
flags, u16 token, u16 command: code << 4 | version), then 56 bytes of parameters.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.device import VfioDevice

PORTAL, SIZE = 0, 64
"""The region, and the bytes of a command."""
HEADER = Struct("<BBBBHH")
PARAMETERS = SIZE - HEADER.size

OK, READY, UNSUPPORTED = 0x0, 0x1, 0xB
"""Of enum mc_cmd_status; READY is a command that is to be carried out."""

GET_VERSION, GET_CONTAINER_ID = 0x831, 0x830
CLOSE, GET_ATTRIBUTES = 0x800, 0x004
SET_IRQ_ENABLE, GET_IRQ_ENABLE, SET_IRQ_MASK = 0x012, 0x013, 0x014
GET_IRQ_STATUS, CLEAR_IRQ_STATUS = 0x016, 0x017
GET_OBJECT_COUNT, GET_OBJECT = 0x159, 0x15A
MODULES = {"dpni": 0x01, "dpio": 0x03, "dpbp": 0x04, "dprc": 0x05, "dpcon": 0x08, "dpmcp": 0x0B}
"""Kinds of objects by the low bits of the codes that open (0x800) and create (0x900) one."""
_OPEN, _CREATE = 0x800, 0x900
# struct dprc_rsp_get_obj: pad, id, vendor, irq_count, region_count, state, major, minor, flags, pad, type, label
_OBJECT = Struct("<IIHBBIHHHH16s16s")


class McRefused(Exception):
    """A command that the Management Complex did not carry out."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"the Management Complex answers {what} with status {status:#x}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """``parameters`` are 56 bytes."""

    status: int
    token: int
    parameters: bytes

    def word(self, offset: int) -> int:
        """Four bytes of the parameters."""
        return int.from_bytes(self.parameters[offset : offset + 4], "little")


@dataclass(frozen=True)
class McObject:
    """An object as its container describes it."""

    kind: str
    number: int
    irqs: int
    regions: int

    @property
    def name(self) -> str:
        """As Linux calls it."""
        return f"{self.kind}.{self.number}"


def create(kind: str) -> int:
    """The code of the command that creates an object."""
    return _CREATE | MODULES[kind]


class McPortal:
    """The portal of ``device``. Everything raises what reading and writing its region raises."""

    def __init__(self, device: VfioDevice) -> None:
        self._device = device

    def send(self, code: int, parameters: bytes = b"", token: int = 0) -> Answer:
        """Send a command, whatever comes of it. Raises OSError; EIO where it was not taken or answered whole."""
        header = HEADER.pack(0, 0, READY, 0, token, code << 4 | 1)
        taken = self._device.write(PORTAL, 0, (header + parameters).ljust(SIZE, b"\0"))
        answer = self._device.read(PORTAL, 0, SIZE)
        if (taken, len(answer)) != (SIZE, SIZE):
            raise OSError(errno.EIO, f"the portal took {taken} bytes of a command and gave {len(answer)} of its answer")
        _, _, status, _, given, _ = HEADER.unpack_from(answer)
        return Answer(status, given, answer[HEADER.size :])

    def command(self, code: int, parameters: bytes = b"", token: int = 0) -> Answer:
        """Send a command that is to be carried out. Raises McRefused."""
        answer = self.send(code, parameters, token)
        if answer.status != OK:
            raise McRefused(f"command {code:#x}", answer.status)
        return answer

    def container(self) -> int:
        """The number of the container that the portal is in."""
        return self.command(GET_CONTAINER_ID).word(0)

    def open(self, kind: str, number: int) -> int:
        """The token of a new session with an object. Raises McRefused."""
        return self.command(_OPEN | MODULES[kind], number.to_bytes(4, "little")).token

    @contextmanager
    def session(self, kind: str, number: int) -> Iterator[int]:
        """The token of a session with an object, closed in the end. Raises McRefused."""
        token = self.open(kind, number)
        try:
            yield token
        finally:
            self.command(CLOSE, token=token)

    def objects(self) -> list[McObject]:
        """What is in the container. Raises McRefused."""
        found = []
        with self.session("dprc", self.container()) as token:
            for place in range(self.command(GET_OBJECT_COUNT, token=token).word(4)):
                answer = self.command(GET_OBJECT, place.to_bytes(4, "little"), token)
                _, number, _, irqs, regions, *_, kind, _ = _OBJECT.unpack_from(answer.parameters)
                found.append(McObject(kind.split(b"\0")[0].decode("ascii", "replace"), number, irqs, regions))
        return found

    def set_irq(self, token: int, *, enabled: bool, mask: int = 0xFFFFFFFF, index: int = 0) -> None:
        """Which causes of an object interrupt, and whether any does. Raises McRefused."""
        self.command(SET_IRQ_MASK, mask.to_bytes(4, "little") + bytes([index]), token)
        self.command(SET_IRQ_ENABLE, bytes([enabled, 0, 0, 0, index]), token)

    def irq_enabled(self, token: int, index: int = 0) -> bool:
        """Whether an object interrupts. Raises McRefused."""
        return bool(self.command(GET_IRQ_ENABLE, bytes([0, 0, 0, 0, index]), token).parameters[0] & 1)

    def irq_status(self, token: int, index: int = 0) -> int:
        """The causes of an object's interrupt. Raises McRefused."""
        return self.command(GET_IRQ_STATUS, bytes([0, 0, 0, 0, index]), token).word(0)

    def clear_irq(self, token: int, index: int = 0) -> None:
        """Take all causes back. Raises McRefused."""
        self.command(CLEAR_IRQ_STATUS, b"\xff\xff\xff\xff" + bytes([index]), token)
