# SPDX-License-Identifier: GPL-2.0-or-later
"""A host with a Management Complex, whose dprc.2 is held by VFIO, and a guest that has its windows."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from passthru.emulation.fsl_mc_bridge.bridge import Bridge
from passthru.emulation.fsl_mc_bridge.places import PORTALS_SIZE, QUEUES_SIZE
from passthru.emulation.mc_status import Status
from passthru.emulation.models.management_complex.containers import PORTAL_STRIDE, SLOT_REGION, SLOT_STRIDE
from passthru.emulation.words import Words
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import DeviceInfo, RegionInfo
from tests.unit.emulation.shared_ram.mc_driver import CHILD, Answer, Software

if TYPE_CHECKING:
    from collections.abc import Callable

READ_WRITE_MAP = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE | vfio.VFIO_REGION_INFO_FLAG_MMAP
QUEUES_IN_MODEL = 1
"""The region of the model that has the registers of dpios."""


@dataclass
class MadeDevice:
    """An object by VFIO: ``memory`` is a memfd with its regions one after the other."""

    num_irqs: int = 1
    memory: int = -1
    offset: int = 0
    flags: list[int] = field(default_factory=lambda: [READ_WRITE_MAP] * 2)
    eventfds: dict[int, int] = field(default_factory=dict)
    asked: int = 0
    refuses: OSError | None = None

    def info(self) -> DeviceInfo:
        return DeviceInfo(vfio.VFIO_DEVICE_FLAGS_FSL_MC, 2, self.num_irqs)

    def region_info(self, index: int) -> RegionInfo:
        return RegionInfo(index, self.flags[index], SLOT_REGION, index << 40)

    def map(self, region: int, offset: int, size: int) -> mmap.mmap:
        return mmap.mmap(self.memory, size, offset=self.offset + region * SLOT_REGION + offset)

    def set_irqs(self, flags: int, index: int, *, descriptors: tuple[int, ...]) -> None:
        assert flags == vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
        if self.refuses:
            raise self.refuses
        self.asked += 1
        self.eventfds[index] = os.dup(descriptors[0])


class MadeHost:
    """``software`` is the Management Complex; ``devices`` are those of VFIO, as the container was when it was bound."""

    name = "dprc.2"

    def __init__(self, **options: Any) -> None:
        self.software = Software(**options)
        # The registers of dpios are memory that VFIO lets be mapped.
        window = self.software.model.regions[QUEUES_IN_MODEL]
        self._memory = os.memfd_create("queues")
        os.ftruncate(self._memory, window.size)
        self._mapping = mmap.mmap(self._memory, window.size)
        window.place(memoryview(self._mapping))  # type: ignore[attr-defined]
        self.software.model.power_on()
        self.devices: dict[str, Any] = {self.name: MadeDevice()}
        child = self.software.model.inventory.root.find("dprc", 2)
        for item in child.objects:  # type: ignore[union-attr]
            self.devices[item.name] = MadeDevice(memory=self._memory, offset=max(item.slot, 0) * SLOT_STRIDE)
        self.sent: list[bytes] = []
        self.fails: OSError | None = None
        self.spoils: Callable[[bytearray], None] | None = None

    def find(self, name: str) -> Any:
        return self.devices.get(name)

    def send(self, command: bytes) -> bytes:
        self.sent.append(command)
        if self.fails:
            raise self.fails
        at = CHILD * PORTAL_STRIDE
        portals = self.software.portals
        portals.memory[at + 8 : at + 64] = command[8:]
        portals.put_long(at, int.from_bytes(command[:8], "little"))
        assert self.software.model.look()
        answer = portals.memory[at : at + 64].tobytes()
        if self.spoils:
            self.spoils(spoiled := bytearray(answer))
            return bytes(spoiled)
        return answer

    def signal(self, name: str, index: int = 0) -> None:
        """The interrupt of an object, as the host's kernel hears it."""
        os.eventfd_write(self.devices[name].eventfds[index], 1)

    def close(self) -> None:
        for device in self.devices.values():
            for eventfd in device.eventfds.values():
                os.close(eventfd)
        self.software.model.close()
        self._mapping.close()
        os.close(self._memory)


class MadeGuest:
    """What is in the guest's RAM, and the rounds of the process that stands between."""

    def __init__(self, host: MadeHost) -> None:
        self.host = host
        self.memory = mmap.mmap(-1, PORTALS_SIZE + QUEUES_SIZE)
        view = memoryview(self.memory)
        self.portals = Words(view[:PORTALS_SIZE])
        self.queues = Words(view[PORTALS_SIZE:])
        self.bridge = Bridge(host, view[:PORTALS_SIZE], view[PORTALS_SIZE:])
        view.release()
        self.watched: dict[int, Any] = {}
        self.written: list[tuple[int, int]] = []
        self.bridge.plugged(self.watched.__setitem__, lambda address, value: self.written.append((address, value)))

    def send(self, code: int, token: int = 0, parameters: bytes = b"", *, portal: int = 0) -> Answer:
        """A command by the portal at an offset, which is answered in one look."""
        self.portals.memory[portal + 8 : portal + 64] = parameters.ljust(56, b"\0")
        self.portals.put_long(portal, Status.READY << 16 | token << 32 | (code << 4 | 1) << 48)
        assert self.bridge.look()
        header = self.portals.get_long(portal)
        assert header >> 48 == code << 4 | 1
        data = bytes(self.portals.memory[portal + 8 : portal + 64])
        return Answer(Status(header >> 16 & 0xFF), header >> 32 & 0xFFFF, data)

    def ok(self, code: int, token: int = 0, parameters: bytes = b"", *, portal: int = 0) -> Answer:
        """One that must succeed."""
        answer = self.send(code, token, parameters, portal=portal)
        assert answer.status is Status.OK
        return answer

    def close(self) -> None:
        self.bridge.close()
        self.portals.release()
        self.queues.release()
        self.memory.close()


def region(kind: str, number: int, index: int = 0) -> bytes:
    """Parameters of the command that asks where a region is."""
    return struct.pack("<IHBB", number, 0, index, 0).ljust(24, b"\0") + kind.encode().ljust(16, b"\0")


def message(value: int, address: int, index: int = 0, number: int = 0, of: tuple[str, int] | None = None) -> bytes:
    """Parameters of the command that says where an interrupt goes: the session's object's, or that ``of`` another."""
    kind, which = of or ("", 0)
    made = struct.pack("<IB3xQII", value, index, address, number, which)
    return made + kind.encode().ljust(16, b"\0")
