# SPDX-License-Identifier: GPL-2.0-or-later
"""A device of one's own: a PCI function whose BAR 0 has a doorbell that interrupts, and a counter of its rings."""

from dataclasses import dataclass

from passthru.emulation.model import Model
from passthru.emulation.pci import PciId, PciModel
from passthru.emulation.regions import Region


class Doorbell(PciModel):
    @dataclass(frozen=True)
    class Options(Model.Options):
        step: int = 1  # how far a ring moves the counter; `step = 2` in [device.ID] changes it

    def __init__(self, options: Options) -> None:
        super().__init__(options, PciId(vendor=0x5054, device=0x0001), bars={0: Registers(self, options.step)})


class Registers(Region):
    """Offset 0 counts the rings; a write to offset 4 rings and interrupts, one to offset 8 takes the interrupt back."""

    def __init__(self, owner: Doorbell, step: int) -> None:
        super().__init__(size=0x1000)
        self.owner, self.step, self.rings = owner, step, 0

    def read(self, offset: int, count: int) -> bytes:
        value = self.rings if offset == 0 else 0
        return value.to_bytes(8, "little")[:count]

    def write(self, offset: int, data: bytes) -> None:
        if offset == 4:
            self.rings += self.step
            self.owner.interrupt = True
        elif offset == 8:
            self.owner.interrupt = False
