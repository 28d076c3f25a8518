# SPDX-License-Identifier: GPL-2.0-or-later
"""The container dprc.2 as vfio-fsl-mc shows it, with passthru's own management complex behind it; one defect or none.

A thread does what the process beside a rig does: it looks at the complex. Messages go straight to eventfds.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import threading
from typing import TYPE_CHECKING, Any, Literal, cast

from passthru.emulation.models.management_complex import ManagementComplex
from passthru.emulation.models.management_complex.containers import PORTAL_STRIDE, SLOT_REGION, SLOT_STRIDE
from passthru.emulation.models.management_complex.objects import ALL_ALLOWED, KINDS, Container
from passthru.emulation.windows import Window
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.facts import Facts
from passthru.vfio.device import DeviceInfo, IrqInfo, RegionInfo
from passthru.vfio.stubs.stub import Identity
from passthru.vfio.transcript import Transcript
from tests.unit.emulation.shared_ram.made_plug import MadePlug

if TYPE_CHECKING:
    from passthru.emulation.models.management_complex.objects import McObject
    from passthru.vfio.device import Target, VfioDevice

NAME = "dprc.2"
PAUSE = 0.0005
STATUS, CODE = 2, 6
READ_WRITE = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE

Defect = Literal[
    "none",
    "short-reads",
    "short-writes",
    "portal-maps",
    "unknown-is-ok",
    "session-lives",
    "host-is-open",
    "contents-change",
    "a-region-too-few",
    "small-regions-map",
    "maskable",
    "no-loopback",
    "message-is-lost",
    "disabled-is-sent",
    "taken-away-is-signalled",
    "reset-does-nothing",
]


class MadeObject:
    """An object as a device."""

    transport = "kernel"

    def __init__(self, home: MadeContainer, item: McObject) -> None:
        self.transcript = Transcript()
        self._home = home
        self._item = item
        self._trigger = -1

    def info(self) -> DeviceInfo:
        regions = self._item.kind.regions - int(
            self._home.defect == "a-region-too-few" and self._item.kind.name == "dpio"
        )
        flags = vfio.VFIO_DEVICE_FLAGS_FSL_MC | vfio.VFIO_DEVICE_FLAGS_RESET
        return DeviceInfo(flags, regions, self._item.kind.irqs)

    def region_info(self, index: int) -> RegionInfo:
        is_portal = self._item.portal >= 0
        maps = not is_portal or self._home.defect == "small-regions-map"
        if isinstance(self._item, Container):
            maps = self._home.defect == "portal-maps"
        flags = READ_WRITE | (vfio.VFIO_REGION_INFO_FLAG_MMAP if maps else 0)
        return RegionInfo(index, flags, 0x40 if is_portal else SLOT_REGION, index << 40)

    def irq_info(self, index: int) -> IrqInfo:
        masks = vfio.VFIO_IRQ_INFO_MASKABLE if self._home.defect == "maskable" else 0
        return IrqInfo(index, vfio.VFIO_IRQ_INFO_EVENTFD | masks, 1)

    def read(self, region: int, offset: int, size: int) -> bytes:
        if (offset, size) != (0, 64) and self._home.defect != "short-reads":
            raise OSError(errno.EINVAL, "no whole command")
        window, base = self._place(region)
        return window.read(base + offset, size)

    def write(self, region: int, offset: int, data: bytes) -> int:
        if (offset, len(data)) != (0, 64):
            if self._home.defect == "short-writes":
                return len(data)
            raise OSError(errno.EINVAL, "no whole command")
        window, base = self._place(region)
        with self._home.lock:
            window.write(base, data)
            self._home.model.look()
            self._home.spoil(window, base, int.from_bytes(data[CODE : CODE + 2], "little") >> 4)
        return len(data)

    def map(self, region: int, offset: int, size: int) -> mmap.mmap:
        end = self.region_info(region).size
        if not self.region_info(region).flags & vfio.VFIO_REGION_INFO_FLAG_MMAP or offset + size > max(
            end, mmap.PAGESIZE
        ):
            raise OSError(errno.EINVAL, "not to be mapped")
        _, base = self._place(region)
        return mmap.mmap(self._home.memory, size, offset=base + offset)

    def set_irqs(
        self, flags: int, index: int, start: int = 0, count: int = 1, *, bools: bytes = b"", descriptors: Any = ()
    ) -> None:
        if flags & vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            if descriptors[0] >= 0 or self._home.defect != "taken-away-is-signalled":
                self._trigger = descriptors[0]
            self._item.irqs[index].address = self._home.address_of(self._item)
            self._home.triggers[self._home.address_of(self._item)] = self
        elif not count:
            self._trigger = -1
        elif self._home.defect != "no-loopback":
            self.signal()

    def signal(self) -> None:
        """Signal the eventfd that is set."""
        if self._trigger >= 0:
            os.eventfd_write(self._trigger, 1)

    def reset(self) -> None:
        assert isinstance(self._item, Container)
        if self._home.defect == "reset-does-nothing":
            return
        with self._home.lock:
            self._home.model.inventory.close_objects(self._item)
            for item in self._item.objects:
                item.reset()

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def close(self) -> None:
        pass

    def _place(self, region: int) -> tuple[Window, int]:
        windows = self._home.model.regions
        at = self._item.portal * PORTAL_STRIDE if self._item.portal >= 0 else self._item.slot * SLOT_STRIDE
        window = windows[0 if self._item.portal >= 0 else 1]
        assert isinstance(window, Window)
        return window, at + region * SLOT_REGION


class _Messages:
    """The memory of the container's stream: a write signals whoever set an eventfd."""

    def __init__(self, home: MadeContainer) -> None:
        self._home = home

    def read(self, iova: int, size: int) -> bytes:
        raise OSError(errno.EFAULT, "not mapped")

    def write(self, iova: int, data: bytes) -> None:
        if self._home.defect != "message-is-lost":
            self._home.triggers[iova].signal()


class MadeContainer:
    """A target, and all openings of it."""

    transport = "kernel"
    title = "a made container"
    dma = None

    def __init__(self, defect: Defect = "none") -> None:
        self.defect = defect
        self.lock = threading.Lock()
        self.triggers: dict[int, MadeObject] = {}
        self.model = ManagementComplex(ManagementComplex.Options())
        qbman = self.model.regions[1]
        assert isinstance(qbman, Window)
        self.memory = os.memfd_create("qbman")
        os.ftruncate(self.memory, qbman.size)
        self._kept = mmap.mmap(self.memory, qbman.size)
        qbman.place(memoryview(self._kept))
        self.model.power_on()
        plug = MadePlug()
        plug.streams[1] = cast("Any", _Messages(self))
        self.model.plugged(plug)
        found = self.model.inventory.find(KINDS["dprc"], 2)
        assert isinstance(found, Container)
        self.container = found
        if defect == "contents-change":
            found.options = ALL_ALLOWED
        self._end = threading.Event()
        self._looks = threading.Thread(target=self._look)
        self._looks.start()

    @property
    def device(self) -> MadeObject:
        return MadeObject(self, self.container)

    def open(self) -> MadeContainer:
        return self

    def neighbour(self, name: str) -> VfioDevice:
        kind, _, number = name.partition(".")
        item = self.model.inventory.find(KINDS[kind], int(number))
        if item is None or item.container is not self.container:
            raise OSError(errno.ENODEV, name)
        return cast("VfioDevice", MadeObject(self, item))

    def close(self) -> None:
        pass

    def address_of(self, item: McObject) -> int:
        """Where messages of an object go."""
        return 0x1000 * (1 + self.container.objects.index(item)) if item in self.container.objects else 0x100000

    def spoil(self, window: Window, base: int, code: int) -> None:
        """Change the answer of a command as the defect has it."""
        answer = window.words.memory
        defect, status = self.defect, answer[base + STATUS]
        wrong = (defect, status) in (("unknown-is-ok", 0xB), ("session-lives", 0x3))
        if wrong or (defect, code) == ("host-is-open", 0x805):
            answer[base + STATUS] = 0
        elif self.defect == "disabled-is-sent" and code == 0x012:
            for item in self.container.objects:
                for irq in item.irqs:
                    irq.enabled = bool(irq.mask)

    def end(self) -> None:
        """Stop looking, and give everything back."""
        self._end.set()
        self._looks.join()
        self.model.close()
        self._kept.close()
        os.close(self.memory)

    def _look(self) -> None:
        while not self._end.wait(PAUSE):
            with self.lock:
                self.model.look()


def container_facts() -> Facts:
    """Facts of the made container."""
    words = {"kernel", "fsl-mc", "irq", "reset", "stub", "stub.readable", "stub.copy"}
    return Facts(Identity("fsl-mc", name=NAME), "kernel", "type1", "6.12.0", "vfio-fsl-mc", frozenset(words))


def as_target(container: MadeContainer) -> Target:
    """For mypy."""
    return cast("Target", container)
