# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm's real-time clock PL031 (DDI 0224): one region, and an interrupt for its alarm, a level until it is cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

COMPATIBLE = frozenset({"arm,pl031", "passthru,pl031"})
"""The second is what a rig's tree calls it on the platform bus, where no driver of the kernel's is to take it."""
REGION, LINE = 0, 0
RTCDR, RTCMR, RTCIMSC, RTCRIS, RTCICR = 0x00, 0x04, 0x10, 0x14, 0x1C
PERIPHERAL_ID, IDS = 0xFE0, 0x20
_ALARM = 0x1


class Pl031(Stub):
    """Its load register is left alone: that would set the clock."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return not COMPATIBLE.isdisjoint(identity.compatible)

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._registers = Registers(device, REGION)

    def prepare(self) -> None:
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return (Part(REGION, RTCMR, 4, 4),)

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(REGION, PERIPHERAL_ID, IDS, 4),)

    @property
    def interrupts(self) -> dict[int, int]:
        return {LINE: 1}

    def interrupt(self, index: int, number: int = 0) -> None:
        self._registers[RTCIMSC] = _ALARM
        wait_until(self._is_due, "the clock's alarm", self.SECONDS)

    def quiet(self) -> None:
        self._registers[RTCIMSC] = 0
        self._registers[RTCICR] = _ALARM

    def _is_due(self) -> bool:
        """Set the alarm to now; again, where the second had gone by before it was set."""
        registers = self._registers
        if not registers[RTCRIS] & _ALARM:
            registers[RTCMR] = registers[RTCDR]
        return bool(registers[RTCRIS] & _ALARM)
