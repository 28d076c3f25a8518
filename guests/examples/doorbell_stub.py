# SPDX-License-Identifier: GPL-2.0-or-later
"""A stub of one's own: how the conformance suite makes the doorbell (doorbell.py) interrupt.

passthru conform --model doorbell.py:Doorbell --stub doorbell_stub.py
"""

from passthru.vfio.linux_vfio import VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_INTX_IRQ_INDEX
from passthru.vfio.stubs.stub import Identity, Part, Stub

BAR0 = 0
COMMAND, MEMORY_AND_MASTER = 4, b"\x06\x00"
RING, TAKE_BACK, ANY = 4, 8, b"\x01\x00\x00\x00"


class DoorbellStub(Stub):
    interrupts = {VFIO_PCI_INTX_IRQ_INDEX: 1}
    readable = (Part(BAR0, offset=0, size=4, width=4),)  # the counter of rings

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        return (identity.vendor, identity.device) == (0x5054, 0x0001)

    def prepare(self) -> None:
        self.device.write(VFIO_PCI_CONFIG_REGION_INDEX, COMMAND, MEMORY_AND_MASTER)
        self.quiet()

    def interrupt(self, index: int, number: int = 0) -> None:
        self.device.write(BAR0, RING, ANY)

    def quiet(self) -> None:
        self.device.write(BAR0, TAKE_BACK, ANY)
