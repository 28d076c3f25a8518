# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers whose regions do not hold what they should."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.vfio.conform.broken.kinds import caught, number, with_number
from tests.unit.vfio.conform.proxy import Line

if TYPE_CHECKING:
    import socket

    from passthru.emulation.vfio_user.stream import Message

_REGION = user.VFIO_USER_DEVICE_GET_REGION_INFO
_READ = user.VFIO_USER_REGION_READ
_WRITE = user.VFIO_USER_REGION_WRITE
_CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX


@caught("config-reads-of-any-size-agree", "answered with 63 bytes of data where the reply says 64", "mtty")
class ShortData(Line):
    """A long read lacks its last byte, and the reply does not say so."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _READ and not message.error and number(message, 12) > 1:
            message = replace(message, payload=message.payload[:-1])
        self.to_client(message)


@caught("what-is-written-reads-back", "wrote .*, read 00", "mtty")
class DroppedWrite(Line):
    """Writes to a BAR are taken, and nothing is written."""

    def command(self, message: Message) -> None:
        if message.command == _WRITE and number(message, 8) != _CONFIG:
            self.answer(message, message.payload[: user.REGION_ACCESS.size])
        else:
            self.to_server(message)


@caught("a-write-past-the-end-of-a-region-is-refused", "took 1 bytes past")
class WritePastTheEnd(Line):
    """Writes that nothing takes are answered as if it were taken."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _WRITE and message.error:
            self.answer(asked, asked.payload[: user.REGION_ACCESS.size])
        else:
            self.to_client(message)


@caught("a-read-past-the-end-of-a-region-is-refused", "gave 1 bytes at")
class ReadPastTheEnd(Line):
    """Behind a region there are zeros."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _READ and message.error:
            self.answer(asked, asked.payload[: user.REGION_ACCESS.size] + bytes(min(number(asked, 12), 4096)))
        else:
            self.to_client(message)


@caught("identity-cannot-be-written", "0x444d5054 at 0x0 became")
class WritableIdentity(Line):
    """The vendor can be written, which is read only."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(client, server)
        self._vendor = b""

    def command(self, message: Message) -> None:
        if message.command == _WRITE and number(message, 8) == _CONFIG and not number(message, 0, 8):
            self._vendor = message.payload[user.REGION_ACCESS.size :][:2]
        self.to_server(message)

    def reply(self, asked: Message, message: Message) -> None:
        config = asked.command == _READ and not message.error and number(message, 8) == _CONFIG
        if config and not number(message, 0, 8) and len(self._vendor) == 2 and number(message, 12) >= 2:
            message = with_number(message, 16, int.from_bytes(self._vendor, "little"), 2)
        self.to_client(message)


@caught("writes-are-seen-both-ways", "written, and mapped")
class OtherMemory(Line):
    """What is mapped is not the memory that is read and written."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and message.descriptors:
            other = os.memfd_create("other")
            os.ftruncate(other, number(message, 16, 8))
            os.close(message.descriptors.pop())
            message.descriptors.append(other)
        self.to_client(message)


@caught("a-reset-forgets-what-was-written", "after a reset, and 5a")
class ResetOfNothing(Line):
    """A reset is answered, and nothing is reset."""

    def command(self, message: Message) -> None:
        if message.command == user.VFIO_USER_DEVICE_RESET:
            self.answer(message)
        else:
            self.to_server(message)
