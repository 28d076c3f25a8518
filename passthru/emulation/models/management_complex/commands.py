# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands by their codes, and those that objects of all kinds know.

Layouts are those of drivers/bus/fsl-mc; offsets count from the first parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.management_complex import containers
from passthru.emulation.models.management_complex.objects import BY_MODULE, IRQ_CONFIG_ALLOWED, Container
from passthru.emulation.models.management_complex.request import Request, answer
from passthru.emulation.models.management_complex.status import Refused, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.models.management_complex.objects import Interrupt

FIRMWARE = (10, 37, 0)
"""The version of the Management Complex's firmware: major, minor, revision."""

_CREATE, _DESTROY, _API_VERSION, _MODULE = 0x900, 0x980, 0xA00, 0x3F


def module_command(code: int) -> Callable[[Request], bytes] | None:
    """The function for a code that has a kind of objects in it; None for none."""
    family, module = code & ~_MODULE, code & _MODULE
    if module not in BY_MODULE:
        return None
    kind = BY_MODULE[module]
    if family == _API_VERSION:
        return lambda request: answer((0, "H", kind.major), (2, "H", kind.minor))
    if family == _CREATE:
        return lambda request: containers.create_object(request, kind)
    if family == _DESTROY:
        return lambda request: containers.destroy_object(request, kind)
    return None


def _version(request: Request) -> bytes:
    major, minor, revision = FIRMWARE
    return answer((0, "I", revision), (4, "I", major), (8, "I", minor))


def _container_id(request: Request) -> bytes:
    return answer((0, "I", request.sender.number))


def _enable(request: Request) -> bytes:
    request.item.enabled = True
    return answer()


def _disable(request: Request) -> bytes:
    request.item.enabled = False
    return answer()


def _is_enabled(request: Request) -> bytes:
    return answer((0, "B", request.item.enabled))


def _attributes(request: Request) -> bytes:
    """What the kinds tell of themselves; of a dpni only its number."""
    item = request.item
    if isinstance(item, Container):
        return answer((0, "I", item.number), (4, "I", item.icid), (8, "I", item.options), (12, "I", item.portal))
    if item.kind.name == "dpbp":
        version = (8, "H", item.kind.major), (10, "H", item.kind.minor)
        return answer((2, "H", item.number), (4, "I", item.number), *version)
    if item.kind.name == "dpcon":
        return answer((0, "I", item.number), (4, "H", item.number), (6, "B", 2))
    if item.kind.name == "dpio":
        return answer((0, "I", item.number), (4, "H", item.slot), (6, "B", 8), (7, "B", 1))
    return answer((0, "I", item.number))


def _reset(request: Request) -> bytes:
    if isinstance(request.item, Container):
        return containers.reset(request)
    request.item.reset()
    return answer()


def _irq(request: Request) -> tuple[int, Interrupt]:
    """The interrupt that a command is about; raises Refused where the object has none of that index."""
    index = request.byte(4)
    if index >= len(request.item.irqs):
        raise Refused(Status.CONFIG_ERROR)
    return index, request.item.irqs[index]


def _set_irq(request: Request) -> bytes:
    request.require(IRQ_CONFIG_ALLOWED)
    _, irq = _irq(request)
    irq.value, irq.address, irq.number = request.word(0), request.long(8), request.word(16)
    return answer()


def _get_irq(request: Request) -> bytes:
    _, irq = _irq(request)
    return answer((0, "I", irq.value), (8, "Q", irq.address), (16, "I", irq.number))


def _set_irq_enable(request: Request) -> bytes:
    index, irq = _irq(request)
    irq.enabled = bool(request.byte(0) & 1)
    request.inventory.send(request.item, index)
    return answer()


def _get_irq_enable(request: Request) -> bytes:
    return answer((0, "B", _irq(request)[1].enabled))


def _set_irq_mask(request: Request) -> bytes:
    index, irq = _irq(request)
    irq.mask = request.word(0)
    request.inventory.send(request.item, index)
    return answer()


def _get_irq_mask(request: Request) -> bytes:
    return answer((0, "I", _irq(request)[1].mask))


def _get_irq_status(request: Request) -> bytes:
    return answer((0, "I", _irq(request)[1].status))


def _clear_irq_status(request: Request) -> bytes:
    _irq(request)[1].status &= ~request.word(0)
    return answer()


COMMANDS: dict[int, Callable[[Request], bytes]] = {
    0x002: _enable,
    0x003: _disable,
    0x004: _attributes,
    0x005: _reset,
    0x006: _is_enabled,
    0x010: _set_irq,
    0x011: _get_irq,
    0x012: _set_irq_enable,
    0x013: _get_irq_enable,
    0x014: _set_irq_mask,
    0x015: _get_irq_mask,
    0x016: _get_irq_status,
    0x017: _clear_irq_status,
    0x151: containers.create_container,
    0x152: containers.destroy_container,
    0x157: containers.assign,
    0x158: containers.unassign,
    0x159: containers.object_count,
    0x15A: containers.get_object,
    0x15E: containers.object_region,
    0x15F: containers.set_object_irq,
    0x830: _container_id,
    0x831: _version,
}
"""`portal` opens and closes by itself."""
