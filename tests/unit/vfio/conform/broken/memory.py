# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that reach memory which they should not, or come too late."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from tests.unit.vfio.conform.broken.kinds import IMPATIENT, caught, number, with_number
from tests.unit.vfio.conform.proxy import Line

if TYPE_CHECKING:
    import socket

    from passthru.emulation.vfio_user.stream import Message

_WRITE = user.VFIO_USER_REGION_WRITE
_DMA_COMMAND = 0x98  # the register of the DMA engine that starts a transfer


@caught("device-writes-nothing-that-is-not-mapped", "memory that was unmapped")
class IgnoredUnmap(Line):
    """DMA_UNMAP is answered, and the device goes on to reach that memory."""

    def command(self, message: Message) -> None:
        if message.command == user.VFIO_USER_DMA_UNMAP:
            self.answer(message, message.payload)
        else:
            self.to_server(message)


@caught("device-writes-nothing-that-it-may-only-read", "mapped for reading")
class WritesWhatItMayRead(Line):
    """Memory that is mapped for reading can be written too."""

    def command(self, message: Message) -> None:
        if message.command == user.VFIO_USER_DMA_MAP and len(message.payload) == user.DMA_MAP.size:
            message = with_number(message, 4, number(message, 4) | 3)
        self.to_server(message)


@caught("device-copies-across-pages", "did not answer DMA_MAP within", time_limit=IMPATIENT)
class LateReply(Line):
    """DMA_MAP is answered when the client has given up."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == user.VFIO_USER_DMA_MAP:
            time.sleep(2 * IMPATIENT)  # being late is what is wrong with it
        self.to_client(message)


@caught("no-reply-waits-for-dma", "did not answer REGION_WRITE .* at 0x98 .* within", time_limit=IMPATIENT)
class ReplyBehindDma(Line):
    """The write that starts a transfer is answered when the transfer's first message was answered."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(client, server)
        self._held: list[Message] = []

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _WRITE and not number(asked, 8) and number(asked, 0, 8) == _DMA_COMMAND:
            self._held.append(message)
        else:
            self.to_client(message)

    def client_reply(self, message: Message) -> None:
        self.to_server(message)
        while self._held:
            self.to_client(self._held.pop())


@caught("what-is-mapped-is-not-mapped-over", "was not refused")
class MappedOver(Line):
    """Mapping over what is mapped is answered as if it were done."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == user.VFIO_USER_DMA_MAP and message.error == errno.EEXIST:
            self.answer(asked)
        else:
            self.to_client(message)


@caught("what-is-mapped-is-not-mapped-over", "EBUSY where EEXIST", "mtty")
class OverlapIsBusy(Line):
    """Mapping over what is mapped is refused with another errno than the specification's."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == user.VFIO_USER_DMA_MAP and message.error == errno.EEXIST:
            message = replace(message, error=errno.EBUSY)
        self.to_client(message)


@caught("unknown-flags-of-a-mapping-are-refused", "flag .* was not refused", "mtty")
class UnknownMapFlags(Line):
    """Flags of DMA_MAP that nobody knows are passed over."""

    def command(self, message: Message) -> None:
        if message.command == user.VFIO_USER_DMA_MAP and len(message.payload) == user.DMA_MAP.size:
            message = with_number(message, 4, number(message, 4) & 0x3)
        self.to_server(message)


@caught("part-of-a-mapping-is-not-unmapped", "unmapping 1 pages .* was not refused", "mtty")
class UnmapsTheWhole(Line):
    """Unmapping part of a mapping takes all of it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(client, server)
        self._maps: list[tuple[int, int]] = []

    def command(self, message: Message) -> None:
        if message.command == user.VFIO_USER_DMA_MAP:
            self._maps.append((number(message, 16, 8), number(message, 24, 8)))
        elif message.command == user.VFIO_USER_DMA_UNMAP:
            at = number(message, 8, 8)
            for iova, size in self._maps:
                if iova <= at < iova + size:
                    whole = with_number(with_number(message, 8, iova, 8), 16, size, 8)
                    self.asked[message.message_id] = replace(message, descriptors=[])
                    self.to_server(whole)
                    return
        self.to_server(message)

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == user.VFIO_USER_DMA_UNMAP and not message.error:
            message = replace(message, payload=asked.payload)
        self.to_client(message)
