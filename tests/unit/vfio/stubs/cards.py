# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards out of a few lines, for the stubs that drive them: registers of region 0, config space, interrupts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from passthru.vfio.device import IrqInfo
from passthru.vfio.linux_vfio import VFIO_IRQ_INFO_EVENTFD

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

CONFIG = 7


class Card:
    """``irqs`` are counts by index. A register keeps what is written but for what a card does about it."""

    def __init__(self, irqs: dict[int, int], *, width: int = 4) -> None:
        self.registers: dict[int, int] = {}
        self.config = bytearray(256)
        self.written: list[tuple[int, int]] = []
        self._irqs = irqs
        self._width = width

    @property
    def device(self) -> VfioDevice:
        """Itself, as far as stubs look at one."""
        return cast("VfioDevice", self)

    def irq_info(self, index: int) -> IrqInfo:
        if index not in self._irqs:
            raise OSError(errno.EINVAL, "no such interrupt")
        return IrqInfo(index, VFIO_IRQ_INFO_EVENTFD, self._irqs[index])

    def read(self, region: int, offset: int, size: int) -> bytes:
        if region == CONFIG:
            return bytes(self.config[offset : offset + size])
        assert (region, size) == (0, self._width), "a stub reads whole registers of region 0"
        return self.get(offset).to_bytes(size, "little")

    def write(self, region: int, offset: int, data: bytes) -> int:
        if region == CONFIG:
            self.config[offset : offset + len(data)] = data
        else:
            assert (region, len(data)) == (0, self._width), "a stub writes whole registers of region 0"
            value = int.from_bytes(data, "little")
            self.written.append((offset, value))
            self.put(offset, value)
        return len(data)

    def get(self, offset: int) -> int:
        """Read a register."""
        return self.registers.get(offset, 0)

    def put(self, offset: int, value: int) -> None:
        """Write a register."""
        self.registers[offset] = value
