# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the Management Complex has: the tree of containers, their portals, and how they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.copy_engine.engine import CopyEngine
from passthru.emulation.models.management_complex.containers import SLOT_REGION, SLOT_STRIDE
from passthru.emulation.models.management_complex.objects import (
    ALL_ALLOWED,
    KINDS,
    OBJECT_ADDED,
    OBJECT_CREATED,
    OBJECT_DESTROYED,
    OBJECT_REMOVED,
    PLUGGED,
    Container,
    Kind,
    McObject,
)
from passthru.emulation.models.management_complex.portal import PORTALS, Portal
from passthru.emulation.models.management_complex.status import Refused, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from passthru.emulation.model import AddressSpace, Plug
    from passthru.emulation.windows import Window

SLOTS = 64
ICIDS = 16
ENGINE_CAUSE = 0x1
"""Of a dpio's interrupt 0: its copy engine has a cause."""


class Inventory:
    """``root`` is dprc.1; ``portals`` are those of all containers and dpmcps, by number."""

    plug: Plug | None = None

    def __init__(self, qbman: Window, icid: int) -> None:
        self._qbman = qbman
        self._first_icid = icid
        self._slots: dict[int, McObject] = {}
        self._objects: dict[tuple[str, int], McObject] = {}
        self.portals: dict[int, Portal] = {}
        self.root = self._container(1, icid, ALL_ALLOWED)

    @property
    def engines(self) -> list[CopyEngine]:
        """Those of all dpios."""
        return [item.engine for item in self._slots.values() if item.engine is not None]

    def find(self, kind: Kind, number: int) -> McObject | None:
        """An object, wherever it is."""
        return self._objects.get((kind.name, number))

    def close_objects(self, container: Container) -> None:
        """End all sessions with the objects of a container."""
        for portal in self.portals.values():
            portal.close_objects(container)

    def add(self, container: Container, kind: Kind, number: int | None = None) -> McObject:
        """A new object, plugged, in a container. Raises Refused where there is no room, or one of that number."""
        if number is None:
            number = self._free_number(kind)
        if (kind.name, number) in self._objects:
            raise Refused(Status.CONFIG_ERROR)
        item = McObject(kind, number, container, PLUGGED)
        self._give_place(item)
        self._objects[kind.name, number] = item
        container.objects.append(item)
        return item

    def add_container(self, parent: Container, options: int, *, icid: int | None = None, state: int = 0) -> Container:
        """A new container below ``parent``. Raises Refused where there is no room."""
        used = {item.icid for item in self._objects.values() if isinstance(item, Container)}
        free = [number for number in range(self._first_icid, self._first_icid + ICIDS) if number not in used]
        if icid is None and free:
            icid = free[0]
        if icid not in free:
            raise Refused(Status.NO_RESOURCE)
        child = self._container(self._free_number(KINDS["dprc"]), icid, options, parent, state)
        parent.objects.append(child)
        return child

    def remove(self, item: McObject) -> None:
        """An object ceases; what is in a container goes to its parent. Raises Refused where somebody has it open."""
        if item.tokens or item.container is None:
            raise Refused(Status.BUSY)
        parent = item.container
        if isinstance(item, Container):
            if any(each.tokens for each in item.objects):
                raise Refused(Status.BUSY)
            for each in tuple(item.objects):
                self.move(each, parent, 0)
        parent.objects.remove(item)
        del self._objects[item.kind.name, item.number]
        if item.portal in self.portals:
            self.portals.pop(item.portal).close_all()
        self._slots.pop(item.slot, None)

    def move(self, item: McObject, target: Container, state: int) -> None:
        """Into another container, or in its own with another state. Raises Refused where somebody has it open."""
        source = item.container
        assert source is not None  # the root container is in none
        if source is not target:
            if item.tokens:
                raise Refused(Status.BUSY)
            source.objects.remove(item)
            target.objects.append(item)
            item.container = target
            if item.portal in self.portals:
                self.portals[item.portal].close_all()  # what it had open was the old container's to use
            self.tell(source, OBJECT_REMOVED)
        item.state = state
        self.tell(target, OBJECT_ADDED)

    def created(self, item: McObject) -> None:
        """Tell the container of an object that it is new."""
        if item.container is not None:
            self.tell(item.container, OBJECT_CREATED | OBJECT_ADDED)

    def destroyed(self, container: Container) -> None:
        """Tell a container that it lost an object."""
        self.tell(container, OBJECT_DESTROYED | OBJECT_REMOVED)

    def tell(self, item: McObject, causes: int, index: int = 0) -> None:
        """Add causes to an object's interrupt, and send it where they are to be heard of."""
        item.irqs[index].status |= causes
        if causes:
            self.send(item, index)

    def send(self, item: McObject, index: int) -> None:
        """Send an object's interrupt if there is a cause that is not masked: a write by its container's stream."""
        irq = item.irqs[index]
        if not irq.pending or self.plug is None:
            return
        try:
            self._memory_of(item).write(irq.address, irq.value.to_bytes(4, "little"))
        except OSError:
            return  # an address that is not mapped: the IOMMU has told whom it concerns

    def _memory_of(self, item: McObject) -> AddressSpace:
        container = item if isinstance(item, Container) else item.container
        assert self.plug is not None and container is not None
        return self.plug.stream(container.icid - self._first_icid)

    def _container(
        self, number: int, icid: int, options: int, parent: Container | None = None, state: int = 0
    ) -> Container:
        made = Container(KINDS["dprc"], number, parent, state, icid=icid, options=options)
        self._give_place(made)
        self._objects["dprc", number] = made
        return made

    def _give_place(self, item: McObject) -> None:
        """A portal, or registers, for those that need them."""
        if item.kind.name in ("dprc", "dpmcp"):
            item.portal = _free(self.portals, PORTALS)
            self.portals[item.portal] = Portal(item)
        elif item.kind.name == "dpio":
            item.slot = _free(self._slots, SLOTS)
            self._slots[item.slot] = item
            line = _EngineLine(self, item)
            item.engine = CopyEngine(self._qbman, item.slot * SLOT_STRIDE + SLOT_REGION, line.evaluate)
            item.engine.dma = _MemoryOf(self, item)
            item.engine.power_on()

    def _free_number(self, kind: Kind) -> int:
        number = 1 if kind.name == "dprc" else 0
        while (kind.name, number) in self._objects:
            number += 1
        return number


class _MemoryOf:
    """The memory that an object sees: that of the container where it is at the time."""

    def __init__(self, inventory: Inventory, item: McObject) -> None:
        self._inventory = inventory
        self._item = item

    def read(self, iova: int, size: int) -> bytes:
        return self._inventory._memory_of(self._item).read(iova, size)

    def write(self, iova: int, data: bytes) -> None:
        self._inventory._memory_of(self._item).write(iova, data)


class _EngineLine:
    """An engine's level becomes an event of its dpio whenever it rises."""

    def __init__(self, inventory: Inventory, item: McObject) -> None:
        self._inventory = inventory
        self._item = item
        self._level = False

    def evaluate(self) -> None:
        before, self._level = self._level, self._item.engine is not None and self._item.engine.asserted
        if self._level and not before:
            self._inventory.tell(self._item, ENGINE_CAUSE)


def _free(used: Collection[int], limit: int) -> int:
    for number in range(limit):
        if number not in used:
            return number
    raise Refused(Status.NO_RESOURCE)
