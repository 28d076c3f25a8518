# SPDX-License-Identifier: GPL-2.0-or-later
"""A platform device as vfio-platform shows it (vfio_platform_irq.c): one level, four registers, a defect or none.

An eventfd that masks or unmasks is looked at whenever the device is: nothing else happens in between.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Literal, cast

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.facts import Facts
from passthru.vfio.device import DeviceInfo, IrqInfo, RegionInfo
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub
from passthru.vfio.transcript import Transcript

if TYPE_CHECKING:
    from passthru.vfio.device import Target, VfioDevice

NAME = "9010000.made"
IDS = bytes(range(0x31, 0x41))
LEVEL = vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED
READ_WRITE = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE

Defect = Literal[
    "none",
    "another-bus",
    "a-region-too-few",
    "a-short-region",
    "maps-parts-of-pages",
    "maps-nothing",
    "long-reads-repeat",
    "wide-reads-only",
    "flags-of-an-edge",
    "level-is-not-masked",
    "replacing-unmasks",
    "mask-eventfd-is-deaf",
    "mask-eventfd-stays",
    "unmask-eventfd-is-deaf",
    "second-eventfd-is-taken",
    "reset-reaches-nobody",
    "opening-resets-nothing",
    "closing-resets-nothing",
]


class MadePlatform:
    """Opened; ``resets`` is shared by all openings."""

    transport = "kernel"

    def __init__(self, defect: Defect, resets: list[int]) -> None:
        self.transcript = Transcript()
        self._defect = defect
        self._resets = resets
        self._trigger = self._mask = self._unmask = -1
        self._masked = False
        if defect != "opening-resets-nothing":
            resets[0] += 1

    def info(self) -> DeviceInfo:
        bus = vfio.VFIO_DEVICE_FLAGS_AMBA if self._defect == "another-bus" else vfio.VFIO_DEVICE_FLAGS_PLATFORM
        return DeviceInfo(bus | vfio.VFIO_DEVICE_FLAGS_RESET, 1 if self._defect == "a-region-too-few" else 2, 1)

    def region_info(self, index: int) -> RegionInfo:
        size = 0x1000 if index == 0 else 0x800
        maps = (index == 0) == (self._defect != "maps-nothing")
        if self._defect == "maps-parts-of-pages":
            maps = True
        if self._defect == "a-short-region" and index:
            size -= 4
        flags = READ_WRITE | (vfio.VFIO_REGION_INFO_FLAG_MMAP if maps else 0)
        return RegionInfo(index, flags, size, index << 40)

    def irq_info(self, index: int) -> IrqInfo:
        return IrqInfo(index, vfio.VFIO_IRQ_INFO_EVENTFD if self._defect == "flags-of-an-edge" else LEVEL, 1)

    def read(self, region: int, offset: int, size: int) -> bytes:
        if self._defect == "wide-reads-only" and size < 4:
            return bytes(size)
        if self._defect == "long-reads-repeat":
            return (IDS[offset : offset + 4] * (size // 4 + 1))[:size]
        return IDS[offset : offset + size]

    def set_irqs(
        self, flags: int, index: int, start: int = 0, count: int = 1, *, bools: bytes = b"", descriptors: Any = ()
    ) -> None:
        self._hear()
        action = flags & vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK
        if flags & vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            self._set_eventfd(action, descriptors[0])
        elif action == vfio.VFIO_IRQ_SET_ACTION_MASK:
            self._masked = True
        elif action == vfio.VFIO_IRQ_SET_ACTION_UNMASK:
            self._masked = False
        elif not count:
            self._trigger = -1
        elif not self._masked:
            self._masked = self._defect != "level-is-not-masked"
            if self._trigger >= 0:
                os.eventfd_write(self._trigger, 1)

    def reset(self) -> None:
        if self._defect != "reset-reaches-nobody":
            self._resets[0] += 1

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        return False  # whatever is to come has come

    def close(self) -> None:
        if self._defect != "closing-resets-nothing":
            self._resets[0] += 1

    def _set_eventfd(self, action: int, descriptor: int) -> None:
        if action == vfio.VFIO_IRQ_SET_ACTION_TRIGGER:
            self._trigger = descriptor
            self._masked &= self._defect != "replacing-unmasks"
            return
        masks = action == vfio.VFIO_IRQ_SET_ACTION_MASK
        there = self._mask if masks else self._unmask
        if descriptor >= 0 and there >= 0 and self._defect != "second-eventfd-is-taken":
            raise OSError(errno.EBUSY, "there is one")
        if masks:
            self._mask = self._mask if self._defect == "mask-eventfd-stays" and descriptor < 0 else descriptor
        else:
            self._unmask = descriptor

    def _hear(self) -> None:
        """Do what the eventfds that mask and unmask say."""
        if _read(self._mask) and self._defect != "mask-eventfd-is-deaf":
            self._masked = True
        if _read(self._unmask) and self._defect != "unmask-eventfd-is-deaf":
            self._masked = False


def _read(eventfd: int) -> int:
    try:
        return os.eventfd_read(eventfd) if eventfd >= 0 else 0
    except OSError:
        return 0


class MadeStub(Stub):
    """Knows that its registers can be read."""

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(0, 0, len(IDS), 4),)

    def prepare(self) -> None:
        Registers(self.device, 0)


class MadeOpening:
    """One opening."""

    dma = None

    def __init__(self, defect: Defect, resets: list[int]) -> None:
        self.device = MadePlatform(defect, resets)

    def neighbour(self, name: str) -> VfioDevice:
        raise OSError(errno.ENODEV, name)

    def close(self) -> None:
        self.device.close()


class MadePlatformTarget:
    """Opens as often as is wished."""

    transport = "kernel"
    title = "a made platform device"

    def __init__(self, defect: Defect = "none") -> None:
        self.resets = [0]
        self._defect = defect

    def open(self) -> MadeOpening:
        return MadeOpening(self._defect, self.resets)


def platform_facts() -> Facts:
    """Facts of the made platform device."""
    words = {"kernel", "platform", "irq", "maskable", "reset", "stub", "stub.readable"}
    return Facts(Identity("platform", name=NAME), "kernel", "type1", "6.12.0", "vfio-platform", frozenset(words))


def as_target(target: MadePlatformTarget) -> Target:
    """For mypy."""
    return cast("Target", target)
