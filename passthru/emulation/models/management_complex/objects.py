# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects of DPAA2 and their interrupts, as the Management Complex keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.models.copy_engine.engine import CopyEngine

VENDOR = 0x1957
PLUGGED = 0x2
"""Of an object's state (FSL_MC_OBJ_STATE_PLUGGED): a driver may take it."""

# DPRC_CFG_OPT_* of the MC's firmware: what the software that has a container's portals may do.
SPAWN_ALLOWED, OBJECT_CREATE_ALLOWED, IRQ_CONFIG_ALLOWED = 0x01, 0x04, 0x40
ALL_ALLOWED = 0x4F

# DPRC_IRQ_EVENT_* of drivers/bus/fsl-mc/fsl-mc-private.h.
OBJECT_ADDED, OBJECT_REMOVED, OBJECT_DESTROYED, OBJECT_CREATED = 0x01, 0x02, 0x20, 0x40

PORTAL_REGION, QBMAN_REGION = 0, 1
CACHEABLE, SHAREABLE = 0x1, 0x2


@dataclass(frozen=True)
class Kind:
    """A type of objects: ``module`` is the part of command codes that means it, versions are those that it reports."""

    name: str
    module: int
    major: int
    minor: int
    irqs: int = 1
    regions: int = 0


KINDS = {
    kind.name: kind
    for kind in (
        Kind("dpni", 0x01, 7, 8),
        Kind("dpio", 0x03, 4, 2, regions=2),
        Kind("dpbp", 0x04, 3, 2),
        Kind("dprc", 0x05, 6, 7, regions=1),
        Kind("dpcon", 0x08, 3, 2),
        Kind("dpmcp", 0x0B, 4, 0, regions=1),
    )
}
BY_MODULE = {kind.module: kind for kind in KINDS.values()}


@dataclass
class Interrupt:
    """A message: ``value`` is written to ``address`` for causes that are enabled and not masked."""

    address: int = 0
    value: int = 0
    number: int = 0
    enabled: bool = False
    mask: int = 0
    status: int = 0

    @property
    def pending(self) -> bool:
        """Whether there is a cause that interrupts."""
        return self.enabled and bool(self.status & self.mask) and bool(self.address)

    def quiet(self) -> None:
        """As after a reset; where the message goes is the host's and stays."""
        self.enabled = False
        self.mask = self.status = 0


@dataclass(eq=False)
class McObject:
    """One object. ``tokens`` counts the sessions with it, ``portal`` is the number of its MC portal, if it has one."""

    kind: Kind
    number: int
    container: Container | None = None
    state: int = 0
    enabled: bool = False
    tokens: int = 0
    label: bytes = b""
    portal: int = -1
    slot: int = -1
    engine: CopyEngine | None = None
    irqs: list[Interrupt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.irqs = [Interrupt() for _ in range(self.kind.irqs)]

    @property
    def name(self) -> str:
        """As Linux calls it: ``dpbp.1``."""
        return f"{self.kind.name}.{self.number}"

    def reset(self) -> None:
        """As the object began, but for its place, and for where its interrupts go."""
        self.enabled = False
        for irq in self.irqs:
            irq.quiet()
        if self.engine is not None:
            self.engine.reset()


@dataclass(eq=False)
class Container(McObject):
    """A dprc. ``icid`` is the isolation context, that is the stream, of all that its objects do."""

    icid: int = 0
    options: int = 0
    objects: list[McObject] = field(default_factory=list)

    def find(self, kind: str, number: int) -> McObject | None:
        """An object right in this container."""
        return next((each for each in self.objects if (each.kind.name, each.number) == (kind, number)), None)

    def holds(self, item: McObject) -> bool:
        """Whether ``item`` is this container, or in it, or in one below."""
        place: McObject | None = item
        while place is not None:
            if place is self:
                return True
            place = place.container
        return False


def parse_objects(text: str, complain: Callable[[str], Exception]) -> list[tuple[Kind, int]]:
    """The objects that an option names, ``dpni.0 dpbp.1``; raises what ``complain`` makes of a sentence."""
    found = []
    for word in text.split():
        name, _, number = word.partition(".")
        if name == "dprc" or name not in KINDS or not (number.isascii() and number.isdigit()):
            there = ", ".join(f"{kind}.N" for kind in KINDS if kind != "dprc")
            raise complain(f"{word!r} is no object of the management complex; there are {there}")
        found.append((KINDS[name], int(number)))
    return found
