# SPDX-License-Identifier: GPL-2.0-or-later
"""A command as the functions that carry it out see it."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack_into, unpack_from
from typing import TYPE_CHECKING

from passthru.emulation.models.management_complex.objects import Container, McObject
from passthru.emulation.models.management_complex.status import Refused, Status

if TYPE_CHECKING:
    from passthru.emulation.models.management_complex.inventory import Inventory

PARAMETERS = 56
"""Bytes of them, in a command and in its answer."""


@dataclass(frozen=True)
class Request:
    """``item`` is the object that the command's token stands for; ``sender`` is the container whose portal it came by.

    Without a token ``item`` is ``sender``.
    """

    inventory: Inventory
    sender: Container
    item: McObject
    code: int
    parameters: bytes

    @property
    def container(self) -> Container:
        """``item``, of a command that only containers know."""
        if not isinstance(self.item, Container):
            raise Refused(Status.UNSUPPORTED)
        return self.item

    def byte(self, offset: int) -> int:
        """One byte of the parameters."""
        return self.parameters[offset]

    def word(self, offset: int) -> int:
        """Four bytes."""
        value: int = unpack_from("<I", self.parameters, offset)[0]
        return value

    def long(self, offset: int) -> int:
        """Eight bytes."""
        value: int = unpack_from("<Q", self.parameters, offset)[0]
        return value

    def text(self, offset: int) -> str:
        """The name of a type, 16 bytes."""
        return self.parameters[offset : offset + 16].split(b"\0")[0].decode("ascii", "replace")

    def require(self, option: int) -> None:
        """Raise Refused unless the software that has this portal may do what ``option`` stands for."""
        if not self.sender.options & option:
            raise Refused(Status.NO_PRIVILEGE)

    def named(self, kind: str, number: int) -> McObject:
        """An object in the container; raises Refused where there is none."""
        if (found := self.container.find(kind, number)) is None:
            raise Refused(Status.CONFIG_ERROR)
        return found


def answer(*parts: tuple[int, str, int]) -> bytes:
    """An answer's parameters: each part is an offset, a format of `struct` and a value."""
    made = bytearray(PARAMETERS)
    for offset, layout, value in parts:
        pack_into(f"<{layout}", made, offset, value)
    return bytes(made)
