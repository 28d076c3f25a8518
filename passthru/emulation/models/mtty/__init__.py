# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty: the kernel's sample mediated device, a PCI serial card that loops back (samples/vfio-mdev/mtty.c, 6.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from passthru.emulation.model import Access, Model
from passthru.emulation.models.mtty.config_space import ConfigSpace
from passthru.emulation.models.mtty.interrupts import MttyInterrupts
from passthru.emulation.models.mtty.uart import Uart
from passthru.emulation.regions import Region
from passthru.vfio.linux_vfio import VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_NUM_REGIONS

_OFFSET_SHIFT = 40  # region info's offset is the index above this bit


class Mtty(Model):
    """One or two serial ports behind a PCI function; it has no reset."""

    access: ClassVar[Access] = "trapped"

    @dataclass(frozen=True)
    class Options(Model.Options):
        """``ports`` as mdev type mtty-1 or mtty-2; ``fifo``: with the real one's 16-byte bug, or without."""

        ports: Literal[1, 2] = 2
        fifo: Literal["faithful", "fixed"] = "faithful"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        interrupts = MttyInterrupts()
        self.irqs = interrupts.indices
        self.ports = tuple(
            Uart(interrupts.trigger, offset=index << _OFFSET_SHIFT, empty_by_count=options.fifo == "fixed")
            for index in range(options.ports)
        )
        regions = [Region(offset=index << _OFFSET_SHIFT) for index in range(VFIO_PCI_NUM_REGIONS)]
        regions[: options.ports] = self.ports
        regions[VFIO_PCI_CONFIG_REGION_INDEX] = ConfigSpace(
            options.ports, offset=VFIO_PCI_CONFIG_REGION_INDEX << _OFFSET_SHIFT
        )
        self.regions = regions
