# SPDX-License-Identifier: GPL-2.0-or-later
"""The seam between a device's model and the plug that a guest's VMM is connected through.

A model knows registers, interrupts and DMA. It does not know how it is plugged in: over vfio-user, or, where its
``access`` is "memory", over RAM that the driver shares with it. Registers of those are `windows.Window`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from passthru.emulation.windows import Window
from passthru.vfio.linux_vfio import VFIO_DEVICE_FLAGS_PCI

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.emulation.interrupts import IrqIndex
    from passthru.emulation.regions import Region

Access = Literal["trapped", "memory"]


class AddressSpace(Protocol):
    """The guest's memory as the device addresses it.

    Both raise OSError: EFAULT where nothing is mapped (any more), EACCES where it is not permitted, E2BIG for more than
    16 MiB at once, and what the client answers or ETIMEDOUT where it is asked by messages.
    """

    def read(self, iova: int, size: int) -> bytes:
        """``size`` bytes from ``iova``."""

    def write(self, iova: int, data: bytes) -> None:
        """Write all of ``data`` at ``iova``."""


class Plug(Protocol):
    """What a model may use between `Model.plugged` and `Model.unplugged`."""

    @property
    def dma(self) -> AddressSpace:
        """The guest's memory. What is not shared RAM is reached by messages, which only deferred work may wait for."""

    def stream(self, number: int) -> AddressSpace:
        """The guest's memory as another of the device's streams addresses it, where an IOMMU tells them apart.

        They count from 0 on, which is ``dma``. Where there is no such IOMMU all of them are ``dma``.
        """

    def defer(self, work: Callable[[], None]) -> None:
        """Call ``work`` as soon as the access at hand is answered.

        DMA that a register access starts belongs here: the VMM cannot serve it while its vCPU waits for the answer.
        Raises OSError EBUSY where too much work waits already, which is then an error of the access.
        """

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        """Call ``work`` whenever ``descriptor`` is readable, as deferred work: for timerfds and eventfds."""

    def unwatch(self, descriptor: int) -> None:
        """Stop watching; unknown descriptors are ignored."""


class Model:
    """A device. It outlives its clients: registers keep their values when one leaves, as vfio-user demands.

    ``device_flags`` are ``VFIO_DEVICE_FLAGS_*``: the bus, and RESET only where a reset exists. ``regions`` and
    ``irqs`` are fixed for the life of the model. Without ``maps_memory`` DMA goes by messages even where the client
    shares its RAM.
    """

    @dataclass(frozen=True)
    class Options:
        """What a user can choose, each with a default; a model's own Options derive from this."""

    access: ClassVar[Access] = "trapped"
    device_flags: int = VFIO_DEVICE_FLAGS_PCI
    regions: Sequence[Region] = ()
    irqs: Sequence[IrqIndex] = ()
    maps_memory: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def plugged(self, plug: Plug) -> None:
        """A client has come."""
        for irq in self.irqs:
            irq.plugged(plug)
        for region in self.regions:
            if isinstance(region, Window):
                region.rung = lambda: plug.defer(self._look)

    def unplugged(self) -> None:
        """The client has left: its eventfds and mappings are gone."""
        for irq in self.irqs:
            irq.release()

    def reset(self) -> None:
        """VFIO_DEVICE_RESET; may raise OSError. Nothing happens by default."""

    def power_on(self) -> None:
        """Write into the windows what is in them when the device begins; called when they are where they stay."""

    def look(self) -> bool:
        """Look at the doorbells in the windows, and do what they ask for; whether any did.

        A plug that traps nothing calls it over and over, so it is quick where nothing is asked for.
        """
        return False

    def _look(self) -> None:
        self.look()

    def close(self) -> None:
        """The end of the device."""
        for region in self.regions:
            region.close()
