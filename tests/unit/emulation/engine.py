# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the dma-engine share: its registers by name, and a guest's driver of sorts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from passthru.emulation.models.dma_engine import DmaEngine
from passthru.vfio import linux_vfio as vfio
from tests.unit.emulation.client import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.emulation.client import Client

BAR, TABLE, CONFIG = 0, 2, vfio.VFIO_PCI_CONFIG_REGION_INDEX
INTX, MSI, MSIX = vfio.VFIO_PCI_INTX_IRQ_INDEX, vfio.VFIO_PCI_MSI_IRQ_INDEX, vfio.VFIO_PCI_MSIX_IRQ_INDEX
ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
DISABLE = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
UNMASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK

IDENTIFICATION, LIVENESS, FACTORIAL, STATUS = 0x00, 0x04, 0x08, 0x20
CAUSES, RAISE, ACKNOWLEDGE, RAISE_VECTOR = 0x24, 0x60, 0x64, 0x68
BUFFER_OFFSET, BUFFER_SIZE, RESETS = 0x70, 0x74, 0x78
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
RESULT, FAULT, TRANSFERRED = 0xA0, 0xA8, 0xB0

START, TO_RAM, INTERRUPT = 0x1, 0x2, 0x4
DONE_CAUSE, FAILED_CAUSE = 0x100, 0x200
BUFFER = 64 << 10
"""Where the buffer of the default options is, and how large."""
PAGE = 4096
COMMAND_REGISTER, MASTER, INTX_DISABLE = 0x04, 0x04, 0x400


class Driver:
    """Registers through a vfio-user client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, register: int, size: int = 4) -> int:
        return int.from_bytes(self.client.read(BAR, register, size), "little")

    def put(self, register: int, value: int, size: int = 4) -> None:
        self.client.write(BAR, register, value.to_bytes(size, "little"))

    def master(self, on: bool = True, *, intx: bool = True) -> None:
        """Write the command register."""
        value = 2 | MASTER * on | INTX_DISABLE * (not intx)
        self.client.write(CONFIG, COMMAND_REGISTER, value.to_bytes(2, "little"))

    def start(self, source: int, destination: int, count: int, command: int) -> None:
        """Begin a transfer; answers that it needs are the test's to give."""
        for register, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, count)):
            self.put(register, value, 8)
        self.put(COMMAND, command | START, 8)

    def to_device(self, ram: int, count: int, *, at: int = 0, command: int = 0) -> int:
        """A transfer into the buffer at ``at``; the result."""
        self.start(ram, BUFFER + at, count, command)
        return self.result()

    def to_ram(self, ram: int, count: int, *, at: int = 0, command: int = 0) -> int:
        """A transfer from the buffer at ``at``; the result."""
        self.start(BUFFER + at, ram, count, command | TO_RAM)
        return self.result()

    def result(self) -> int:
        """The result of a transfer that has ended."""
        assert not self.get(COMMAND, 8) & START
        return self.get(RESULT)


@contextmanager
def engine(**options: Any) -> Iterator[Driver]:
    """A device with these options and a client that has agreed upon a version."""
    model = DmaEngine(DmaEngine.Options(**options))
    try:
        with serving(model) as client:
            client.version()
            yield Driver(client)
    finally:
        model.close()
