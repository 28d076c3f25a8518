# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a guest finds the platform devices that it is given, and what its device tree says of them.

QEMU's virt has a bus for them, /platform-bus@c000000. It puts the registers of one device after the other at the first
free place that their size divides, and takes the interrupts in turn (QEMU's hw/core/platform-bus.c, hw/arm/virt.c).
It has no node for a device that it does not know, and refuses one without a node unless the tree is given to it: so the
guest's tree is QEMU's own with a fragment for each device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.qemu.fragments import Fragment
from passthru.qemu.on_board import COPY_ENGINE, RTC, UART

if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER = "vfio-platform"
"""QEMU's name of the device; gone from 10.2 on."""
PAGE = 4096

_BUS, _BUS_SIZE = 0xC000000, 0x2000000
_FIRST_SPI, _SPIS = 112, 64
_NODE = re.compile(r"([A-Za-z0-9,._+-]+)@\$\{?offset\b")


@dataclass(frozen=True)
class Node:
    """What a device is to its guest: ``fragment`` is a name or, with a slash, a path."""

    fragment: str
    regions: tuple[int, ...] = (PAGE,)
    """The sizes of its regions in bytes, in the order in which VFIO has them."""
    interrupts: int = 1


@dataclass(frozen=True)
class Place:
    """Where a device is in its guest, and the piece of the device tree that says so."""

    address: str
    """Its name in the guest's sysfs: ``c000000.serial``."""
    regions: tuple[int, ...]
    """Physical addresses."""
    spis: tuple[int, ...]
    """Numbers of shared interrupts, as a device tree has them."""
    fragment: Fragment


NODES: Mapping[str, Node] = {
    UART: Node("guest-uart"),
    RTC: Node("guest-rtc"),
    COPY_ENGINE: Node("guest-copy-engine"),
}
"""What is known of the hardware of rigs."""


def places(nodes: Mapping[str, Node]) -> dict[str, Place]:
    """The places of devices by their names, in the order in which QEMU is told of them.

    A fragment's ``$offset`` and ``$spi`` are those of the first region (hexadecimal, from the bus on) and interrupt;
    of further ones they are ``$offset1`` and ``$spi1``, and so on; ``$number`` is the device's,
    from 1. Raises UserMistake for a fragment that is none, and
    for more than the bus has room for.
    """
    taken: list[tuple[int, int]] = []
    spis = 0
    found: dict[str, Place] = {}
    for name, node in nodes.items():
        offsets = [_placed(name, size, taken) for size in node.regions]
        if spis + node.interrupts > _SPIS:
            raise UserMistake(f"device.{name} has no interrupt left: the bus of platform devices has {_SPIS} in all")
        own = tuple(range(_FIRST_SPI + spis, _FIRST_SPI + spis + node.interrupts))
        spis += node.interrupts
        fragment = Fragment(
            node.fragment,
            {**_values("offset", offsets, "x"), **_values("spi", own, "d"), "number": str(len(found) + 1)},
        )
        named = _NODE.search(fragment.source())
        if not named or not offsets:
            raise UserMistake(
                f"the device-tree fragment {fragment.path} has no node NAME@$offset, by which device.{name} is found "
                "in the guest; add it below &{/platform-bus@c000000}"
            )
        address = f"{_BUS + offsets[0]:x}.{named[1]}"
        found[name] = Place(address, tuple(_BUS + offset for offset in offsets), own, fragment)
    return found


def _values(name: str, numbers: tuple[int, ...] | list[int], form: str) -> dict[str, str]:
    return {f"{name}{place or ''}": f"{number:{form}}" for place, number in enumerate(numbers)}


def _placed(name: str, size: int, taken: list[tuple[int, int]]) -> int:
    """The first free offset that is a multiple of the size, made a power of two; it is taken then."""
    step = 1 << (size - 1).bit_length()
    for offset in range(0, _BUS_SIZE - size + 1, step):
        if all(offset + size <= start or end <= offset for start, end in taken):
            taken.append((offset, offset + size))
            return offset
    raise UserMistake(
        f"device.{name} has no room in the guest for {size} bytes of registers: the bus of platform devices has "
        f"{_BUS_SIZE >> 20} MiB in all"
    )
