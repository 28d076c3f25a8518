# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that say wrong things of the device, its regions and its interrupts."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.vfio.conform.broken.kinds import caught, number, with_number
from tests.unit.vfio.conform.proxy import Line

if TYPE_CHECKING:
    from passthru.emulation.vfio_user.stream import Message

_INFO = user.VFIO_USER_DEVICE_GET_INFO
_REGION = user.VFIO_USER_DEVICE_GET_REGION_INFO
_IRQ = user.VFIO_USER_DEVICE_GET_IRQ_INFO
_CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX


@caught("a-region-ends-where-it-says", "refused REGION_READ of .* of region 7")
class LargerRegion(Line):
    """Configuration space says 4096 bytes and has 256."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and not message.error and number(message, 8) == _CONFIG:
            message = with_number(message, 16, 4096, 8)
        self.to_client(message)


@caught("bars-tell-the-sizes-of-regions", "BAR 2 .* region 0x800")
class SmallerRegion(Line):
    """A BAR's region says half of what the BAR does."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and not message.error and number(message, 8) == 2:
            message = with_number(message, 16, number(message, 16, 8) // 2, 8)
        self.to_client(message)


@caught("each-bar-region-is-told", "refused DEVICE_GET_REGION_INFO with .*index=3", "mtty")
class MissingRegion(Line):
    """A region that belongs to every PCI device is refused."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and not message.error and number(message, 8) == 3:
            self.refuse(asked, errno.EINVAL)
        else:
            self.to_client(message)


@caught("pci-indexes-are-fixed", "there are 7 regions", "mtty")
class FewerRegions(Line):
    """There are fewer regions than a PCI device has."""

    def reply(self, asked: Message, message: Message) -> None:
        self.to_client(with_number(message, 8, 7) if asked.command == _INFO and not message.error else message)


@caught("message-capabilities-agree-with-irq-info", "index 2 has 9 interrupts")
class MoreInterrupts(Line):
    """MSI-X has an interrupt more than its capability says."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _IRQ and not message.error and number(message, 8) == vfio.VFIO_PCI_MSIX_IRQ_INDEX:
            message = with_number(message, 12, number(message, 12) + 1)
        self.to_client(message)


@caught("irq-flags-make-sense", "argsz 16 .* they are 8", "mtty")
class WrongArgsz(Line):
    """The answer says that it is shorter than its structure."""

    def reply(self, asked: Message, message: Message) -> None:
        self.to_client(with_number(message, 0, 8) if asked.command == _IRQ and not message.error else message)


@caught("room-for-capabilities-is-asked-for", "40 bytes of room, and with those for 48")
class InsatiableArgsz(Line):
    """However much room there is for the answer, it needs more."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and not message.error and number(message, 8) == 0:
            message = with_number(message, 0, number(asked, 0) + 8)
        self.to_client(message)


@caught("region-info-is-stable", "chain .* offset 32")
class CircularChain(Line):
    """The chain of capabilities comes back to where it began."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and not message.error and (at := number(message, 12)):
            message = with_number(message, at + 4, at)
        self.to_client(message)


@caught("an-absent-index-of-region-info-is-refused", "ENODEV where EINVAL", "mtty")
class WrongErrno(Line):
    """What is EINVAL is told as ENODEV."""

    def reply(self, asked: Message, message: Message) -> None:
        if asked.command == _REGION and message.error:
            message = replace(message, error=errno.ENODEV)
        self.to_client(message)
