# SPDX-License-Identifier: GPL-2.0-or-later
"""The interface by which the conformance suite makes a device do something: interrupt, reach memory, loop data.

The suite knows the VFIO interface and no device. Whoever wants his device's interrupts and DMA judged writes one class
in one file, with as many of these methods as his device can do; what is not written is skipped, naming it.
"""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    from passthru.vfio.device import VfioDevice


@dataclass(frozen=True)
class Identity:
    """What a device is known by: on PCI ``vendor`` and ``device`` of config space, else ``compatible`` or ``name``."""

    bus: str
    """``pci``, ``platform``, ``amba`` or ``fsl-mc``."""
    vendor: int = 0
    device: int = 0
    name: str = ""
    """On the host: an address, a UUID, or the name in sysfs; may be empty over vfio-user."""
    compatible: tuple[str, ...] = ()
    """What the device tree says that it is, the most exact first; nothing where no tree tells of it."""


@dataclass(frozen=True)
class Part:
    """Bytes of a region that take accesses of ``width`` bytes, each at a multiple of it."""

    region: int
    offset: int
    size: int
    width: int


@dataclass(frozen=True)
class Workspace:
    """Memory that a stub may use for itself, such as descriptors: the same bytes here and at an IOVA."""

    iova: int
    memory: mmap


class DmaFault(Exception):
    """The device told that it could not reach an address; a stub raises this for it."""


def _alone(name: str) -> VfioDevice:
    """What `Stub.neighbour` is until somebody who opened the device knows better."""
    raise OSError(errno.ENODEV, f"nobody can open {name} here")


class Stub:
    """A device that can be made to do something. All methods use only what ``VfioDevice`` offers.

    They return once the device was told, and wait for what the device tells in registers no longer than ``SECONDS``.
    Whatever the transport refuses or loses is raised as it comes: OSError, ConnectionError, TimeoutError.
    """

    SECONDS: ClassVar[float] = 5.0

    @classmethod
    def matches(cls, identity: Identity) -> bool:
        """Whether this is the stub for a device. A stub that the user names is taken without being asked."""
        raise NotImplementedError

    def __init__(self, device: VfioDevice, identity: Identity) -> None:
        self.device = device
        self.identity = identity
        self.neighbour = _alone
        """Opens another device of the same IOMMU group by its name: objects of one container do things together."""

    def prepare(self) -> None:
        """Make the device ready: memory and I/O decoding and bus mastering on, nothing that interrupts.

        Called after each opening and each reset.
        """

    # Registers

    @property
    def scratch(self) -> tuple[Part, ...]:
        """Registers or memory that keep what is written, and where nothing else comes of it."""
        return ()

    @property
    def readable(self) -> tuple[Part, ...]:
        """What can be read at any time, is the same each time, and where nothing comes of it."""
        return ()

    # Interrupts

    @property
    def interrupts(self) -> dict[int, int]:
        """The IRQ indexes by which ``interrupt`` can be called, each with how many of its interrupts, from 0."""
        return {}

    @property
    def holds_level(self) -> bool:
        """Whether an automasked interrupt comes again when it is unmasked before ``quiet``, as that of a level does."""
        return True

    def interrupt(self, index: int, number: int = 0) -> None:
        """Make the device raise an interrupt, once more each time. A level stays until ``quiet``.

        The index has an eventfd set by then: a PCI device knows by it which kind of interrupt it is to send.
        """
        raise NotImplementedError

    def quiet(self) -> None:
        """Take back whatever the device interrupts for; afterwards its line is low."""
        raise NotImplementedError

    # DMA

    def copy(self, source: int, destination: int, size: int) -> None:
        """Make the device read ``size`` bytes at one IOVA and write them at another; returns when it has done so.

        Raises DmaFault where the device tells of one, TimeoutError where it does not tell that it is done.
        """
        raise NotImplementedError

    @property
    def largest_copy(self) -> int:
        """Bytes that one ``copy`` can take; 0 where there is none."""
        return 0

    @property
    def highest_iova(self) -> int:
        """The last address that ``copy`` can reach."""
        return (1 << 64) - 1

    @property
    def tells_faults(self) -> bool:
        """Whether ``copy`` raises DmaFault for an IOVA that is not mapped; otherwise nothing at all may come of it."""
        return False

    @property
    def workspace_size(self) -> int:
        """How much memory ``copy`` needs for itself, a multiple of a page; it is mapped and lent before the first."""
        return 0

    def lend(self, workspace: Workspace) -> None:
        """Memory of ``workspace_size`` bytes, all zero at first, below ``highest_iova``, readable and writable.

        It stays mapped until it is said that the device is to be reset or closed.
        """

    # Loopback

    def loop(self, data: bytes) -> bytes:
        """Send data out in the device's own loopback; returns what came back."""
        raise NotImplementedError

    @property
    def largest_loop(self) -> int:
        """Bytes that one ``loop`` can take; 0 where there is none."""
        return 0


_PAUSE = 0.0005  # seconds between two looks at a register


def wait_until(holds: Callable[[], object], what: str, seconds: float = Stub.SECONDS) -> None:
    """Look until something holds. Raises TimeoutError, which says ``what`` it was that did not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:g} s")
        time.sleep(_PAUSE)
