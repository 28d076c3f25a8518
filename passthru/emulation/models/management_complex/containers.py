# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of containers: what is in them, and how that changes.

Layouts are those of drivers/bus/fsl-mc/fsl-mc-private.h, and of the MC's own library for those that only restool sends
(create, destroy, assign, unassign).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.management_complex.objects import (
    CACHEABLE,
    IRQ_CONFIG_ALLOWED,
    KINDS,
    OBJECT_CREATE_ALLOWED,
    PLUGGED,
    PORTAL_REGION,
    QBMAN_REGION,
    SHAREABLE,
    SPAWN_ALLOWED,
    VENDOR,
    Container,
)
from passthru.emulation.models.management_complex.request import Request, answer
from passthru.emulation.models.management_complex.status import Refused, Status

if TYPE_CHECKING:
    from passthru.emulation.models.management_complex.objects import Kind, McObject

PORTAL_STRIDE, PORTAL_SIZE = 0x10000, 0x40
"""A portal is smaller than a page: so VFIO lets nobody map one, and each command goes through the kernel."""
SLOT_STRIDE, SLOT_REGION = 0x20000, 0x10000
"""Of a dpio, among QBMan's portals: two regions."""

_EXPLICIT, _PLUGGED = 0x1, 0x4  # DPRC_RES_REQ_OPT_*
_ANY = 0xFFFFFFFF  # DPRC_GET_ICID_FROM_POOL
_NOT_RECURSIVE = 0x1  # DPRC_RESET_OPTION_NON_RECURSIVE


def object_count(request: Request) -> bytes:
    """How many objects are in the container."""
    return answer((4, "I", len(request.container.objects)))


def get_object(request: Request) -> bytes:
    """An object of the container by its place."""
    objects, place = request.container.objects, request.word(0)
    if place >= len(objects):
        raise Refused(Status.CONFIG_ERROR)
    item = objects[place]
    kind = item.kind
    state = (item.state & PLUGGED) | (1 if item.tokens else 0)
    made = bytearray(
        answer(
            (4, "I", item.number),
            (8, "H", VENDOR),
            (10, "B", kind.irqs),
            (11, "B", kind.regions),
            (12, "I", state),
            (16, "H", kind.major),
            (18, "H", kind.minor),
        )
    )
    made[24:40] = kind.name.encode().ljust(16, b"\0")
    made[40:56] = item.label.ljust(16, b"\0")
    return bytes(made)


def object_region(request: Request) -> bytes:
    """Where a region of an object is: an offset in the range of the device tree that has its type."""
    item = request.named(request.text(24), request.word(0))
    index = request.byte(6)
    if index >= item.kind.regions:
        raise Refused(Status.CONFIG_ERROR)
    if item.portal >= 0:
        return answer((8, "Q", item.portal * PORTAL_STRIDE), (16, "I", PORTAL_SIZE), (20, "B", PORTAL_REGION))
    flags = CACHEABLE | SHAREABLE if index == 0 else 0
    offset = item.slot * SLOT_STRIDE + index * SLOT_REGION
    return answer((8, "Q", offset), (16, "I", SLOT_REGION), (20, "B", QBMAN_REGION), (24, "I", flags))


def set_object_irq(request: Request) -> bytes:
    """Where an interrupt of an object of the container goes."""
    request.require(IRQ_CONFIG_ALLOWED)
    item = request.named(request.text(24), request.word(20))
    index = request.byte(4)
    if index >= len(item.irqs):
        raise Refused(Status.CONFIG_ERROR)
    irq = item.irqs[index]
    irq.value, irq.address, irq.number = request.word(0), request.long(8), request.word(16)
    return answer()


def reset(request: Request) -> bytes:
    """Reset the objects of this container or of a child, and unless told otherwise those of the containers in it."""
    target = _self_or_child(request)
    _reset(request, target, recursive=not request.word(4) & _NOT_RECURSIVE)
    return answer()


def create_object(request: Request, kind: Kind) -> bytes:
    """A new object in the container, plugged."""
    request.require(OBJECT_CREATE_ALLOWED)
    if kind.name == "dprc":
        raise Refused(Status.UNSUPPORTED)
    item = request.inventory.add(request.container, kind)
    request.inventory.created(item)
    return answer((0, "I", item.number))


def destroy_object(request: Request, kind: Kind) -> bytes:
    """An object of the container ceases."""
    request.require(OBJECT_CREATE_ALLOWED)
    item = request.named(kind.name, request.word(0))
    if isinstance(item, Container):
        raise Refused(Status.UNSUPPORTED)
    request.inventory.remove(item)
    request.inventory.destroyed(request.container)
    return answer()


def create_container(request: Request) -> bytes:
    """A new container below this one, unplugged."""
    request.require(SPAWN_ALLOWED)
    icid = request.word(4)
    child = request.inventory.add_container(
        request.container, request.word(0), icid=None if icid in (_ANY, _ANY & 0xFFFF) else icid
    )
    child.label = request.parameters[16:32].rstrip(b"\0")
    request.inventory.created(child)
    return answer((8, "I", child.number), (16, "Q", child.portal * PORTAL_STRIDE))


def destroy_container(request: Request) -> bytes:
    """A container below this one ceases."""
    request.require(SPAWN_ALLOWED)
    request.inventory.remove(request.named("dprc", request.word(0)))
    request.inventory.destroyed(request.container)
    return answer()


def assign(request: Request) -> bytes:
    """Move an object of this container into a child, or plug or unplug it in place."""
    target = _self_or_child(request)
    item = _requested(request, request.container)
    if isinstance(item, Container) and target is not request.container:
        raise Refused(Status.UNSUPPORTED)
    request.inventory.move(item, target, PLUGGED if request.word(4) & _PLUGGED else 0)
    return answer()


def unassign(request: Request) -> bytes:
    """Move an object of a child into this container, unplugged."""
    source = _self_or_child(request)
    item = _requested(request, source)
    if source is request.container or isinstance(item, Container):
        raise Refused(Status.CONFIG_ERROR)
    request.inventory.move(item, request.container, 0)
    return answer()


def _self_or_child(request: Request) -> Container:
    """The container whose number is the first parameter.

    Whoever sends this must have the portal of the container that changes, or of one above; what is in a container that
    may not create objects is its parent's business.
    """
    container, number = request.container, request.word(0)
    if number == container.number:
        return container
    child = request.named("dprc", number)
    assert isinstance(child, Container)
    return child


def _requested(request: Request, source: Container) -> McObject:
    """The one object that a request for resources names."""
    request.require(OBJECT_CREATE_ALLOWED)
    kind = request.text(16)
    if kind not in KINDS or not request.word(4) & _EXPLICIT or request.word(8) != 1:
        raise Refused(Status.UNSUPPORTED)  # resources that are not objects, which no driver of Linux asks for
    if (item := source.find(kind, request.word(12))) is None:
        raise Refused(Status.CONFIG_ERROR)
    return item


def _reset(request: Request, target: Container, *, recursive: bool) -> None:
    request.inventory.close_objects(target)
    for item in target.objects:
        if not isinstance(item, Container):
            item.reset()
        elif recursive:
            _reset(request, item, recursive=True)
    target.reset()
