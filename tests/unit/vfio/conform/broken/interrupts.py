# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that lose interrupts, make some up, or do not mind what they were told of them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.vfio.conform.broken.kinds import caught, number, with_number
from tests.unit.vfio.conform.proxy import Line, duplicate

if TYPE_CHECKING:
    import socket

    from passthru.emulation.vfio_user.stream import Message

_SET_IRQS = user.VFIO_USER_DEVICE_SET_IRQS


class _Eventfds(Line):
    """Gives the server eventfds of its own, and hands on by `came` what it signals."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        super().__init__(client, server)
        self._theirs: dict[tuple[int, int], int] = {}
        self._ours: dict[tuple[int, int], int] = {}

    def came(self, index: int, vector: int, count: int) -> None:
        """The server signalled an interrupt."""
        self.signal(index, vector, count)

    def signal(self, index: int, vector: int, count: int) -> None:
        """Signal the client's eventfd."""
        if count and (index, vector) in self._theirs:
            os.eventfd_write(self._theirs[index, vector], count)

    def command(self, message: Message) -> None:
        if message.command == _SET_IRQS and len(message.payload) >= vfio.IRQ_SET.size:
            _, flags, index, start, count = vfio.IRQ_SET.unpack_from(message.payload)
            if flags == 0x24 and len(message.descriptors) == count:
                for vector, theirs in enumerate(duplicate(message), start):
                    self._forget((index, vector))
                    self._theirs[index, vector] = theirs
                    self._ours[index, vector] = ours = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                    self.watch(ours, partial(self._signalled, index, vector))
                fresh = [os.dup(self._ours[index, vector]) for vector in range(start, start + count)]
                message.close()
                message.descriptors.extend(fresh)
        self.to_server(message)

    def ended(self) -> None:
        for key in list(self._ours):
            self._forget(key)

    def _signalled(self, index: int, vector: int) -> None:
        self.came(index, vector, os.eventfd_read(self._ours[index, vector]))

    def _forget(self, key: tuple[int, int]) -> None:
        if key in self._ours:
            self.unwatch(self._ours[key])
            os.close(self._ours.pop(key))
            os.close(self._theirs.pop(key))


@caught("real-interrupts-are-counted", r"signalled \[0\]", "mtty")
class LostInterrupt(_Eventfds):
    """Every seventh interrupt is lost."""

    _seen = 0

    def came(self, index: int, vector: int, count: int) -> None:
        self._seen += 1
        self.signal(index, vector, count if self._seen % 7 else 0)


@caught("real-interrupts-are-counted", r"signalled \[2\]")
class ExtraInterrupt(_Eventfds):
    """Every seventh interrupt comes twice."""

    _seen = 0

    def came(self, index: int, vector: int, count: int) -> None:
        self._seen += 1
        self.signal(index, vector, count if self._seen % 7 else 2 * count)


@caught("a-real-interrupt-comes", r"interrupt 2 .* signalled \[0, 0, 0, 1,")
class OtherVector(_Eventfds):
    """Vectors 2 and 3 are mixed up."""

    def came(self, index: int, vector: int, count: int) -> None:
        self.signal(index, vector ^ 1 if vector in (2, 3) else vector, count)


@caught("index-disabled-signals-nothing", "disabled was not refused", "mtty")
class IgnoredDisable(Line):
    """A disabled index keeps its eventfds."""

    def command(self, message: Message) -> None:
        disables = message.command == _SET_IRQS and number(message, 4) == 0x21 and not number(message, 16)
        if disables:
            self.answer(message)
        else:
            self.to_server(message)


@caught("masked-interrupts-are-held-back", r"while the interrupt was masked, .* \[1\]")
class IgnoredMask(Line):
    """Masking is answered, and nothing is masked."""

    def command(self, message: Message) -> None:
        if message.command == _SET_IRQS and number(message, 4) & vfio.VFIO_IRQ_SET_ACTION_MASK:
            self.answer(message)
        else:
            self.to_server(message)


@caught("automasked-interrupts-wait-to-be-unmasked", r"was unmasked .* \[0\]")
class IgnoredUnmask(Line):
    """Unmasking is answered, and nothing is unmasked."""

    def command(self, message: Message) -> None:
        if message.command == _SET_IRQS and number(message, 4) & vfio.VFIO_IRQ_SET_ACTION_UNMASK:
            self.answer(message)
        else:
            self.to_server(message)


@caught("bad-flags-are-refused-and-change-nothing", "flags 0x.* was not refused", "mtty")
class UnknownFlags(Line):
    """Flags of SET_IRQS that nobody knows are passed over."""

    def command(self, message: Message) -> None:
        if message.command == _SET_IRQS and len(message.payload) >= vfio.IRQ_SET.size:
            message = with_number(message, 4, number(message, 4) & 0x3F)
        self.to_server(message)


@caught("bad-ranges-are-refused-and-change-nothing", "refused DEVICE_SET_IRQS", "mtty")
class StateLostByRefusal(Line):
    """A refused SET_IRQS takes the eventfds away that were set."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _SET_IRQS and message.error:
            for index in range(3):
                payload = vfio.IRQ_SET.pack(vfio.IRQ_SET.size, 0x21, index, 0, 0)
                self.tell_server(_SET_IRQS, payload)
        self.to_client(message)
