# SPDX-License-Identifier: GPL-2.0-or-later
"""A device as VFIO shows it to user space: one interface, whichever transport it is reached by.

The kernel's ioctls (`kernel`) and the vfio-user messages (`user`) carry the same structures and refuse with the same
errno, so what is written against `VfioDevice` and `DmaSpace` judges a bus driver and a device server alike. Whatever is
refused raises OSError with that errno; a device server that goes away, or does not answer in time, raises
ConnectionError or TimeoutError.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol

from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    from passthru.vfio.info_capabilities import InfoCapability
    from passthru.vfio.transcript import Transcript

Transport = Literal["kernel", "vfio-user"]
READ_WRITE = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE


class Call(Enum):
    """What is asked of a device with a structure; each is an ioctl and a vfio-user message."""

    GET_INFO = "VFIO_DEVICE_GET_INFO"
    GET_REGION_INFO = "VFIO_DEVICE_GET_REGION_INFO"
    GET_IRQ_INFO = "VFIO_DEVICE_GET_IRQ_INFO"
    SET_IRQS = "VFIO_DEVICE_SET_IRQS"
    RESET = "VFIO_DEVICE_RESET"
    FEATURE = "VFIO_DEVICE_FEATURE"
    GET_PCI_HOT_RESET_INFO = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"
    """Of the kernel only; vfio-user has no such message."""


@dataclass(frozen=True)
class DeviceInfo:
    """``struct vfio_device_info``; ``flags`` are VFIO_DEVICE_FLAGS_*."""

    flags: int
    num_regions: int
    num_irqs: int
    capabilities: tuple[InfoCapability, ...] = ()


@dataclass(frozen=True)
class RegionInfo:
    """``struct vfio_region_info``: ``size`` in bytes, ``flags`` VFIO_REGION_INFO_FLAG_*.

    ``offset`` is where the region begins in the descriptor that reads, writes and maps go to.
    """

    index: int
    flags: int
    size: int
    offset: int
    capabilities: tuple[InfoCapability, ...] = ()


@dataclass(frozen=True)
class IrqInfo:
    """``struct vfio_irq_info``: ``count`` interrupts of one index, ``flags`` VFIO_IRQ_INFO_*."""

    index: int
    flags: int
    count: int


class VfioDevice(Protocol):
    """An opened device. Everything raises OSError with the errno that it was refused with."""

    @property
    def transport(self) -> Transport:
        """How it is reached."""

    @property
    def transcript(self) -> Transcript:
        """The last calls, what was sent and what came back."""

    def info(self) -> DeviceInfo:
        """VFIO_DEVICE_GET_INFO, asked again with a longer argsz where its capabilities need that."""

    def region_info(self, index: int) -> RegionInfo:
        """VFIO_DEVICE_GET_REGION_INFO, with its capabilities."""

    def irq_info(self, index: int) -> IrqInfo:
        """VFIO_DEVICE_GET_IRQ_INFO."""

    def set_irqs(
        self,
        flags: int,
        index: int,
        start: int = 0,
        count: int = 1,
        *,
        bools: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> None:
        """VFIO_DEVICE_SET_IRQS; ``flags`` are one VFIO_IRQ_SET_DATA_* and one VFIO_IRQ_SET_ACTION_*.

        ``bools`` is a byte, ``descriptors`` an eventfd for each interrupt; -1 takes the one that was set away. Over
        vfio-user a call has either a descriptor for each or none at all, as its messages can say nothing else.
        """

    def read(self, region: int, offset: int, size: int) -> bytes:
        """``size`` bytes of a region; fewer where the device gives fewer, as pread(2)."""

    def write(self, region: int, offset: int, data: bytes) -> int:
        """Write to a region; returns how many bytes the device took."""

    def map(self, region: int, offset: int, size: int) -> mmap.mmap:
        """The bytes of a region in this process's memory; ``offset`` and ``size`` are multiples of a page."""

    def reset(self) -> None:
        """VFIO_DEVICE_RESET."""

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        """VFIO_DEVICE_FEATURE: ``flags`` are the feature's number and VFIO_DEVICE_FEATURE_GET, _SET, _PROBE.

        ``data`` goes both ways: what comes back is as long as it.
        """

    def call(self, call: Call, structure: bytes, descriptors: Sequence[int] = ()) -> bytes:
        """A call with a structure as it stands, its argsz included; returns the structure that came back.

        Nothing is checked or mended: for what a user should not do. ``descriptors`` of SET_IRQS are given apart from
        the structure, as the transport carries them.
        """

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """Wait for an eventfd to be signalled; False where ``seconds`` go by. Meanwhile the device reaches its memory.

        (Where a device server asks for our memory by messages, somebody has to answer it.)
        """

    def close(self) -> None:
        """Give the device up. Closing again does nothing."""


@dataclass(frozen=True)
class DmaInfo:
    """What the IOMMU behind a device can: VFIO_IOMMU_GET_INFO, IOMMU_IOAS_IOVA_RANGES, or nothing known."""

    page_sizes: int
    """A bit for each size: 0x1000 is 4 KiB."""
    iova_ranges: tuple[tuple[int, int], ...] = ()
    """First and last address of each range that can be mapped; empty where nothing is said of it."""
    available: int | None = None
    """How many more mappings there can be; None where nothing is said of it."""
    capabilities: tuple[InfoCapability, ...] = ()


class DmaSpace(Protocol):
    """The memory that a device sees. Addresses and sizes are bytes."""

    def info(self) -> DmaInfo:
        """What can be mapped."""

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = READ_WRITE) -> None:
        """Let the device see ``size`` bytes of the memfd ``memory``, from ``offset``, at ``iova``.

        ``flags`` are VFIO_DMA_MAP_FLAG_READ (by the device) and _WRITE.
        """

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        """Take mappings away; returns how many bytes were unmapped. ``flags`` are VFIO_DMA_UNMAP_FLAG_*."""


class Opened(Protocol):
    """A device with the memory it sees; both are given back together."""

    @property
    def device(self) -> VfioDevice: ...
    @property
    def dma(self) -> DmaSpace | None:
        """None where the device reaches no memory of ours: without an IOMMU."""

    def neighbour(self, name: str) -> VfioDevice:
        """Another device of the same IOMMU group, which sees the same memory; closed with this one at the latest.

        Raises OSError where there is none of this name, or no such thing as a group.
        """

    def close(self) -> None:
        """Give back the device and its neighbours, then their memory, whatever state they are in."""


class Target(Protocol):
    """Where a device is, and how it is opened."""

    @property
    def transport(self) -> Transport: ...
    @property
    def title(self) -> str:
        """The device and the way to it, in words: "0000:00:05.0 by type1"."""

    def open(self) -> Opened:
        """Open it, ready for use. Raises OSError."""
