# SPDX-License-Identifier: GPL-2.0-or-later
"""A DPAA2 container of passthru's management complex: what is in it copies for it.

The second region of its dpio is a copy engine (`emulation.models.management_complex`), where the hardware has a
software portal of its queues. A container without such a one has commands to offer, and no DMA that we could ask for.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from passthru.vfio.stubs.copy_engine import LARGEST, Engine
from passthru.vfio.stubs.mc_portal import PORTAL, SIZE, McPortal, McRefused
from passthru.vfio.stubs.registers import mapped
from passthru.vfio.stubs.stub import Identity, Part, Stub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.device import VfioDevice

ENGINE_REGION = 1
"""Of a dpio."""


@contextmanager
def engine_of(dpio: VfioDevice) -> Iterator[Engine | None]:
    """The copy engine in a dpio; None where it has none."""
    with mapped(dpio, ENGINE_REGION) as registers:
        engine = Engine(registers)
        yield engine if engine.is_there else None


class Dprc(Stub):
    """Its portal, and the engine of the first dpio that has one."""

    _dpio: VfioDevice | None = None

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return identity.bus == "fsl-mc" and identity.name.startswith("dprc.")

    def prepare(self) -> None:
        if self._dpio is None:
            self._dpio = self._find()

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(PORTAL, 0, SIZE, SIZE),)

    def copy(self, source: int, destination: int, size: int) -> None:
        if self._dpio is None:
            raise NotImplementedError("no dpio of this container has a copy engine")
        with engine_of(self._dpio) as engine:
            assert engine is not None  # it was when it was found
            engine.copy(source, destination, size)

    @property
    def largest_copy(self) -> int:
        return LARGEST if self._dpio else 0

    @property
    def tells_faults(self) -> bool:
        return True

    def _find(self) -> VfioDevice | None:
        try:
            names = [each.name for each in McPortal(self.device).objects() if each.kind == "dpio" and each.regions > 1]
        except McRefused:  # a test tells of it
            return None
        for name in names:
            dpio = self.neighbour(name)
            with engine_of(dpio) as engine:
                if engine:
                    return dpio
            dpio.close()
        return None
