# SPDX-License-Identifier: GPL-2.0-or-later
"""What software sends through the portals of a management complex."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from passthru.emulation.models.management_complex import ManagementComplex
from passthru.emulation.models.management_complex.containers import PORTAL_STRIDE
from passthru.emulation.models.management_complex.status import Status
from tests.unit.emulation.shared_ram.made_plug import MadePlug, words_of

ROOT, CHILD = 0, 1
"""The portals of dprc.1 and dprc.2."""

CLOSE, OPEN_DPIO, OPEN_DPBP, OPEN_DPRC, OPEN_DPMCP = 0x800, 0x803, 0x804, 0x805, 0x80B
ENABLE, DISABLE, ATTRIBUTES, RESET, IS_ENABLED = 0x002, 0x003, 0x004, 0x005, 0x006
SET_IRQ, GET_IRQ, SET_IRQ_ENABLE, SET_IRQ_MASK, GET_IRQ_STATUS, CLEAR_IRQ_STATUS = 0x10, 0x11, 0x12, 0x14, 0x16, 0x17
CREATE_CONTAINER, DESTROY_CONTAINER, ASSIGN, UNASSIGN = 0x151, 0x152, 0x157, 0x158
COUNT, GET, REGION, SET_OBJECT_IRQ = 0x159, 0x15A, 0x15E, 0x15F
CREATE_DPBP, CREATE_DPMCP, DESTROY_DPBP, DESTROY_DPMCP = 0x904, 0x90B, 0x984, 0x98B
CONTAINER_ID, VERSION, DPRC_VERSION = 0x830, 0x831, 0xA05
EXPLICIT, PLUGGED = 0x1, 0x4


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: Status
    token: int
    parameters: bytes

    def word(self, offset: int) -> int:
        value: int = struct.unpack_from("<I", self.parameters, offset)[0]
        return value

    def half(self, offset: int) -> int:
        value: int = struct.unpack_from("<H", self.parameters, offset)[0]
        return value

    def long(self, offset: int) -> int:
        value: int = struct.unpack_from("<Q", self.parameters, offset)[0]
        return value


class Software:
    """A management complex, and who uses it."""

    def __init__(self, **options: Any) -> None:
        self.model = ManagementComplex(ManagementComplex.Options(**options))
        self.plug = MadePlug()
        self.model.plugged(self.plug)
        self.portals = words_of(self.model, 0)

    def send(self, portal: int, code: int, token: int = 0, parameters: bytes = b"") -> Answer:
        """A command through a portal, which must be answered."""
        at = portal * PORTAL_STRIDE
        self.portals.memory[at + 8 : at + 64] = parameters.ljust(56, b"\0")
        self.portals.put_long(at, Status.READY << 16 | token << 32 | (code << 4 | 1) << 48)
        assert self.model.look()
        header = self.portals.get_long(at)
        assert header >> 48 == code << 4 | 1
        status = Status(header >> 16 & 0xFF)
        return Answer(status, header >> 32 & 0xFFFF, bytes(self.portals.memory[at + 8 : at + 64]))

    def ok(self, portal: int, code: int, token: int = 0, parameters: bytes = b"") -> Answer:
        """One that must succeed."""
        answer = self.send(portal, code, token, parameters)
        assert answer.status is Status.OK
        return answer

    def open(self, portal: int, code: int, number: int) -> int:
        """A token for an object."""
        return self.ok(portal, code, 0, words(number)).token

    def objects(self, portal: int, token: int) -> dict[str, int]:
        """The objects of a container by name, with their states."""
        found = {}
        for place in range(self.ok(portal, COUNT, token).word(4)):
            answer = self.ok(portal, GET, token, words(place))
            kind = answer.parameters[24:40].rstrip(b"\0").decode()
            found[f"{kind}.{answer.word(4)}"] = answer.word(12)
        return found

    def hear(self, portal: int, token: int, address: int, value: int) -> None:
        """Have interrupt 0 of an object sent to ``address``, whatever its cause."""
        self.ok(portal, SET_IRQ, token, struct.pack("<IIQI", value, 0, address, 0))
        self.ok(portal, SET_IRQ_MASK, token, words(0xFFFFFFFF))
        self.ok(portal, SET_IRQ_ENABLE, token, words(1))


def words(*values: int) -> bytes:
    """Parameters of four bytes each."""
    return struct.pack(f"<{len(values)}I", *values)


def request(container: int, kind: str, number: int, options: int = EXPLICIT | PLUGGED) -> bytes:
    """Parameters of assign and unassign."""
    return words(container, options, 1, number) + kind.encode().ljust(16, b"\0")
