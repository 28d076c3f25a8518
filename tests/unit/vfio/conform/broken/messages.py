# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers whose messages are not as they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.vfio.conform.broken.kinds import caught
from tests.unit.vfio.conform.proxy import Line

if TYPE_CHECKING:
    import socket

    from passthru.emulation.vfio_user.stream import Message

_INFO = user.VFIO_USER_DEVICE_GET_INFO


@caught("commands-are-answered-in-their-order", r"with id (\d+) was answered with a reply .* id", "mtty")
class OutOfOrder(Line):
    """Where two commands wait, the second is answered first."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(client, server)
        self._held: list[Message] = []

    def reply(self, asked: Message, message: Message) -> None:
        if self.asked and not self._held:
            self._held.append(message)
            return
        self.to_client(message)
        while self._held:
            self.to_client(self._held.pop())


@caught("any-message-id-is-echoed", "id 65535 was answered by .* id 32767", "mtty")
class OtherId(Line):
    """Large ids come back as others."""

    def reply(self, asked: Message, message: Message) -> None:
        self.to_client(replace(message, message_id=message.message_id & 0x7FFF))


@caught("what-wants-no-reply-gets-none", "wanted no reply, and there came a reply", "mtty")
class UnwantedReply(Line):
    """A command that wants no reply gets one."""

    def command(self, message: Message) -> None:
        wanted = replace(message, flags=message.flags & ~user.NO_REPLY)
        self.asked[message.message_id] = replace(wanted, descriptors=[])
        self.to_server(wanted)


@caught("unknown-commands-are-refused", "closed the connection while command 0", "mtty")
class DeathByUnknown(Line):
    """A command that nobody knows ends the connection."""

    def command(self, message: Message) -> None:
        if message.command not in user.COMMAND_NAMES:
            raise ConnectionAbortedError
        self.to_server(message)


@caught("the-version-comes-first", "before VERSION was answered", "mtty")
class VersionAnyTime(Line):
    """Commands are answered although no version was agreed upon."""

    _agreed = False

    def command(self, message: Message) -> None:
        if message.command == _INFO and not self._agreed:
            self.answer(message, vfio.DEVICE_INFO.pack(vfio.DEVICE_INFO.size, 2, 9, 5))
            return
        self._agreed = self._agreed or message.command == user.VFIO_USER_VERSION
        self.to_server(message)


@caught("a-new-client-finds-the-device-as-it-was-left", "first client left 41424344, the second found 00000000")
class ForgetsRegisters(Line):
    """When its client leaves, the device is reset."""

    def ended(self) -> None:
        self.tell_server(user.VFIO_USER_DEVICE_RESET, b"")
