# SPDX-License-Identifier: GPL-2.0-or-later
"""MC portals: 64 bytes through which one software sends its commands.

A header of 8 bytes (source, hardware flags, status, software flags, u16 token, u16 command: code << 4 | version), and
seven words of parameters. The driver writes the header last, with status READY; we write it last, with another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.management_complex.commands import COMMANDS, module_command
from passthru.emulation.models.management_complex.containers import PORTAL_STRIDE
from passthru.emulation.models.management_complex.objects import BY_MODULE, Container, McObject
from passthru.emulation.models.management_complex.request import PARAMETERS, Request
from passthru.emulation.models.management_complex.status import Refused, Status

if TYPE_CHECKING:
    from passthru.emulation.models.management_complex.inventory import Inventory
    from passthru.emulation.windows import Window

PORTALS = 512

_HEADER = 8
_STATUS_SHIFT, _TOKEN_SHIFT, _COMMAND_SHIFT = 16, 32, 48
_MOST_TOKENS = 256
_CLOSE, _OPEN, _CONTAINER_ID, _VERSION, _API_VERSION = 0x800, 0x800, 0x830, 0x831, 0xA00
_WITHOUT_TOKEN = (_CONTAINER_ID, _VERSION)
_MODULE = 0x3F


class Portal:
    """The portal of ``owner``, a container or a dpmcp; what it may do is that container's business."""

    def __init__(self, owner: McObject) -> None:
        self.owner = owner
        self.tokens: dict[int, McObject] = {}
        self._offset = owner.portal * PORTAL_STRIDE

    @property
    def container(self) -> Container:
        """On whose behalf commands come."""
        place = self.owner if isinstance(self.owner, Container) else self.owner.container
        assert isinstance(place, Container)
        return place

    def look(self, window: Window, inventory: Inventory) -> bool:
        """Carry out a command if there is one; whether there was."""
        words, offset = window.words, self._offset
        header = words.get_long(offset)
        if header >> _STATUS_SHIFT & 0xFF != Status.READY:
            return False
        token, code = header >> _TOKEN_SHIFT & 0xFFFF, header >> _COMMAND_SHIFT + 4
        parameters = bytes(words.memory[offset + _HEADER : offset + _HEADER + PARAMETERS])
        try:
            token, result = self._execute(inventory, token, code, parameters)
            status = Status.OK
        except Refused as refused:
            status, result = refused.status, bytes(PARAMETERS)
        words.memory[offset + _HEADER : offset + _HEADER + PARAMETERS] = result
        header &= ~(0xFF << _STATUS_SHIFT | 0xFFFF << _TOKEN_SHIFT)
        words.put_long(offset, header | status << _STATUS_SHIFT | token << _TOKEN_SHIFT)
        return True

    def open(self, item: McObject) -> int:
        """A new token. Raises Refused where there are too many."""
        token = next((number for number in range(1, _MOST_TOKENS) if number not in self.tokens), None)
        if token is None:
            raise Refused(Status.NO_RESOURCE)
        self.tokens[token] = item
        item.tokens += 1
        return token

    def close(self, token: int) -> None:
        """Its session ends."""
        self.tokens.pop(token).tokens -= 1

    def close_all(self) -> None:
        """All sessions end."""
        for token in tuple(self.tokens):
            self.close(token)

    def close_objects(self, container: Container) -> None:
        """Sessions with the objects of a container end, as at its reset."""
        for token, item in tuple(self.tokens.items()):
            if item.container is container:
                self.close(token)

    def _execute(self, inventory: Inventory, token: int, code: int, parameters: bytes) -> tuple[int, bytes]:
        """The token and the parameters of the answer."""
        family, module = code & ~_MODULE, code & _MODULE
        if code == _CLOSE:
            self._session(token)
            self.close(token)
            return token, bytes(PARAMETERS)
        if family == _OPEN and module in BY_MODULE:
            number = int.from_bytes(parameters[:4], "little")
            item = inventory.find(BY_MODULE[module], number)
            if item is None or not self.container.holds(item):
                raise Refused(Status.CONFIG_ERROR)
            return self.open(item), bytes(PARAMETERS)
        command = COMMANDS.get(code) or module_command(code)
        if command is None:
            raise Refused(Status.UNSUPPORTED)
        without = code in _WITHOUT_TOKEN or family == _API_VERSION
        item = self.container if without else self._session(token)
        return token, command(Request(inventory, self.container, item, code, parameters))

    def _session(self, token: int) -> McObject:
        if (item := self.tokens.get(token)) is None:
            raise Refused(Status.AUTHENTICATION_ERROR)
        return item
