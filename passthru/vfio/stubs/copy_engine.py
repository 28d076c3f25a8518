# SPDX-License-Identifier: GPL-2.0-or-later
"""passthru's own copy engine, a platform device; its registers are on the page of `emulation.models.copy_engine`.

They are memory that the device looks at: a doorbell is answered when it is 0 again. A dpio of passthru's management
complex has such an engine too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import DmaFault, Identity, Part, Stub, wait_until

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice
    from passthru.vfio.stubs.registers import MappedRegisters

COMPATIBLE = "passthru,copy-engine"
REGION, LINE = 0, 0
IDENTIFICATION, SOURCE, DESTINATION, COUNT = 0x00, 0x08, 0x10, 0x18
COMMAND, RESULT, FAULT = 0x20, 0x24, 0x28
ACKNOWLEDGE, RAISE = 0x3C, 0x40
START, CAUSE, ALL_CAUSES = 0x1, 0x100, 0xFFFFFFFF
DONE = 1
RESULTS = {2: "nothing is mapped", 3: "this direction is not permitted", 5: "it is too long", 6: "refused"}
LARGEST = 16 << 20
_KIND, _KIND_MASK = 0x4350, 0xFFFF


class Engine:
    """The engine behind these registers."""

    def __init__(self, registers: Registers | MappedRegisters) -> None:
        self._registers = registers

    @property
    def is_there(self) -> bool:
        """Whether the registers are those of a copy engine."""
        return self._registers[IDENTIFICATION] & _KIND_MASK == _KIND

    def interrupt(self) -> None:
        """Raise a cause."""
        self._ring(RAISE, CAUSE, "raised interrupt")

    def quiet(self) -> None:
        """Take all causes back."""
        self._ring(ACKNOWLEDGE, ALL_CAUSES, "acknowledgement")

    def copy(self, source: int, destination: int, size: int) -> None:
        """As `Stub.copy`."""
        registers = self._registers
        for register, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, size)):
            registers.put(register, value, 8)
        self._ring(COMMAND, START, "copy")
        if (result := registers[RESULT]) != DONE:
            why = RESULTS.get(result, f"result {result}")
            raise DmaFault(f"the engine's DMA at {registers.get(FAULT, 8):#x} failed: {why}")

    def _ring(self, doorbell: int, value: int, what: str) -> None:
        self._registers[doorbell] = value
        wait_until(lambda: not self._registers[doorbell], f"the end of the engine's {what}")


class CopyEngine(Stub):
    """A region of registers and a level-triggered interrupt."""

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return COMPATIBLE in identity.compatible

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        super().__init__(device, identity)
        self._engine = Engine(Registers(device, REGION))

    def prepare(self) -> None:
        self.quiet()

    @property
    def scratch(self) -> tuple[Part, ...]:
        return (Part(REGION, SOURCE, 16, 1), Part(REGION, COUNT, 8, 4))

    @property
    def readable(self) -> tuple[Part, ...]:
        return (Part(REGION, IDENTIFICATION, 4, 4), *self.scratch)

    @property
    def interrupts(self) -> dict[int, int]:
        return {LINE: 1}

    def interrupt(self, index: int, number: int = 0) -> None:
        self._engine.interrupt()

    def quiet(self) -> None:
        self._engine.quiet()

    def copy(self, source: int, destination: int, size: int) -> None:
        self._engine.copy(source, destination, size)

    @property
    def largest_copy(self) -> int:
        return LARGEST

    @property
    def tells_faults(self) -> bool:
        return True
