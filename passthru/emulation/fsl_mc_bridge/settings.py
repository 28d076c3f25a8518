# SPDX-License-Identifier: GPL-2.0-or-later
"""Which container, which guest, and where its windows are, as one JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from passthru.emulation.described import parse
from passthru.emulation.fsl_mc_bridge.places import CONTROL_SIZE, PORTALS_SIZE, QUEUES_SIZE
from passthru.emulation.shared_ram.board import RamPlace  # noqa: TC001 (what is read key by key needs it at run time)
from passthru.errors import UserMistake

WAYS = ("type1", "type1v2")


@dataclass(frozen=True)
class Settings:
    """``portals``, ``queues`` and ``control`` are physical addresses in the guest's RAM, reserved by its device tree.

    ``group`` is the path of the container's group (/dev/vfio/3), ``iommu`` the kind of IOMMU behind it. ``qtest`` is
    the path of a socket or the number of an inherited descriptor that is connected; ``ready`` that of one that gets a
    line when the guest may begin.
    """

    ram: RamPlace
    qtest: str | int
    container: str
    group: str
    portals: int
    queues: int
    control: int
    iommu: str = "type1"
    ready: int | None = None

    def __post_init__(self) -> None:
        if self.iommu not in WAYS:
            raise UserMistake(f"iommu of the bridge is {self.iommu!r}; it must be {' or '.join(WAYS)}")
        for (first, size), (second, _) in pairwise(self.windows):
            if first + size > second:
                raise UserMistake(f"portals, queues and control of the bridge overlap at {second:#x}")

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """Address and size of each, in the order of addresses."""
        return tuple(sorted(((self.portals, PORTALS_SIZE), (self.queues, QUEUES_SIZE), (self.control, CONTROL_SIZE))))

    @property
    def visible(self) -> tuple[tuple[int, int], ...]:
        """Address and size of the RAM that the container's objects may see: all but the windows."""
        found, at = [], self.ram.base
        for address, size in (*self.windows, (self.ram.base + self.ram.size, 0)):
            if address > at:
                found.append((at, address - at))
            at = address + size
        return tuple(found)


def parse_settings(text: str) -> Settings:
    """What ``text`` says; raises UserMistake, naming the key that is wrong."""
    return parse(Settings, text, "the bridge")
