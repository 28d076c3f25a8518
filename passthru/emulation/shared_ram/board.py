# SPDX-License-Identifier: GPL-2.0-or-later
"""Where everything is: the guest's RAM, QEMU's sockets, the SMMU, and each device with its windows and interrupts.

Written as one JSON object. It says the same as the device tree that the guest's kernel is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from passthru.emulation.described import parse
from passthru.errors import UserMistake


@dataclass(frozen=True)
class RamPlace:
    """The file, its size in bytes, and the physical address of its first one."""

    path: str
    size: int
    base: int = 0x40000000


@dataclass(frozen=True)
class SmmuPlace:
    """The physical address of its 128 KiB, and its SPIs, all edge-triggered: the global one, and one a context."""

    address: int
    global_spi: int
    context_spis: list[int]


@dataclass(frozen=True)
class MessagePlace:
    """GITS_TRANSLATER's physical address, and the streams whose ``msi-map`` says DeviceID 0 (see `streams`)."""

    doorbell: int
    streams: list[int]


@dataclass(frozen=True)
class Seat:
    """A device: the physical addresses of its regions, its SPIs in the order of its interrupts, its first stream id."""

    model: str
    regions: list[int]
    options: dict[str, object] = field(default_factory=dict)
    spis: list[int] = field(default_factory=list)
    stream: int = 0
    package_root: str = ""


@dataclass(frozen=True)
class Board:
    """``qtest`` and ``qmp`` are paths of sockets or numbers of inherited descriptors that are connected.

    ``controller`` is the QOM path of the interrupt controller; where it is empty, it is asked for over ``qmp``.
    ``ready`` is the number of an inherited descriptor that gets a line when RAM holds all that a kernel must find.
    """

    ram: RamPlace
    qtest: str | int
    devices: dict[str, Seat]
    qmp: str | int = ""
    controller: str = ""
    smmu: SmmuPlace | None = None
    messages: MessagePlace | None = None
    ready: int | None = None

    def __post_init__(self) -> None:
        lines = self.smmu is not None or any(seat.spis for seat in self.devices.values())
        if lines and not self.controller and self.qmp == "":
            raise UserMistake("a board with interrupt lines needs qmp, or controller, to find the interrupt controller")


def parse_board(text: str) -> Board:
    """The board that ``text`` describes; raises UserMistake, naming the key that is wrong."""
    return parse(Board, text, "the board")
