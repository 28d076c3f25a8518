# SPDX-License-Identifier: GPL-2.0-or-later
"""The two regions of a dpio as its guest sees them: windows in its RAM, kept alike with VFIO's mappings by handshake.

Nothing traps, and two memories that both sides write cannot be kept alike in general. But the registers of our
Management Complex's dpios are those of a copy engine (`models.copy_engine`), and obey the rule of `windows`: what
belongs to a doorbell is complete when it is rung, and its answer when it is 0 again. So what the guest has written is
carried to the device when it rings, and what the device has written to the guest when it has answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation import copy_registers as engine
from passthru.emulation.fsl_mc_bridge.places import QUEUE_STRIDE
from passthru.emulation.words import Words
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    import mmap

    from passthru.vfio.device import VfioDevice

MEMORY, REGISTERS = 0, 1
"""Regions of a dpio."""
DOORBELLS = (engine.RESET, engine.ACKNOWLEDGE, engine.RAISE, engine.COMMAND)
_ASKED = (engine.SOURCE, engine.DESTINATION, engine.COUNT)
_ANSWERED = (engine.ID, engine.FAULT, engine.TRANSFERRED)
_ANSWERED_SHORT = (engine.RESULT, engine.CAUSES)


class Unsharable(Exception):
    """A dpio whose regions are no memory that can be copied."""


class Queues:
    """The regions of ``dpio``, an object of the container, in two windows of the guest's.

    Raises Unsharable, and OSError where VFIO does not let them be mapped.
    """

    def __init__(self, name: str, dpio: VfioDevice, windows: tuple[memoryview, memoryview]) -> None:
        self._mapped: list[tuple[Words, mmap.mmap]] = []
        self._rung: set[int] = set()
        try:
            self._memory, self._registers = (self._map(name, dpio, region) for region in (MEMORY, REGISTERS))
            if self._registers.get(engine.ID) != engine.IDENTIFICATION:
                raise Unsharable(
                    f"{name} has other registers than those of passthru's Management Complex; give the container to a "
                    "QEMU that has vfio-fsl-mc"
                )
        except BaseException:
            self._unmap()
            raise
        self._guest_memory, self._guest_registers = (Words(window) for window in windows)
        self._guest_memory.memory[:] = self._memory.memory
        for register in range(engine.ID, engine.RESET + 4, 4):
            self._guest_registers.put(register, self._registers.get(register))

    def look(self) -> bool:
        """Carry what is to be carried; whether anything was."""
        guest, device = self._guest_registers, self._registers
        busy = False
        for doorbell in DOORBELLS:
            if doorbell not in self._rung and (value := guest.get(doorbell)):
                self._ask(doorbell, value)
                busy = True
        for doorbell in tuple(self._rung):
            if not device.get(doorbell):
                self._answer(doorbell)
                busy = True
        return busy

    def close(self) -> None:
        """Let mappings and windows go."""
        self._guest_memory.release()
        self._guest_registers.release()
        self._unmap()

    def _ask(self, doorbell: int, value: int) -> None:
        self._memory.memory[:] = self._guest_memory.memory
        for register in _ASKED:
            self._registers.put_long(register, self._guest_registers.get_long(register))
        self._registers.put(doorbell, value)
        self._rung.add(doorbell)

    def _answer(self, doorbell: int) -> None:
        guest, device = self._guest_registers, self._registers
        copied = (*_ANSWERED, *_ASKED) if doorbell == engine.RESET else _ANSWERED
        for register in copied:
            guest.put_long(register, device.get_long(register))
        for register in _ANSWERED_SHORT:
            guest.put(register, device.get(register))
        guest.put(doorbell, 0)
        self._rung.discard(doorbell)

    def _map(self, name: str, dpio: VfioDevice, region: int) -> Words:
        info = dpio.region_info(region)
        if info.size != QUEUE_STRIDE or not info.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP:
            raise Unsharable(f"region {region} of {name} has {info.size:#x} bytes and flags {info.flags:#x}")
        mapping = dpio.map(region, 0, info.size)
        words = Words(memoryview(mapping))
        self._mapped.append((words, mapping))
        return words

    def _unmap(self) -> None:
        for words, mapping in self._mapped:
            words.release()
            mapping.close()
        self._mapped.clear()
