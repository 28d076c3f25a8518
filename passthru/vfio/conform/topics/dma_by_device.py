# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA that the device itself does, by its stub: it reaches what is mapped, as it is mapped, and nothing else.

A device that tells of no fault (edu, igb) may read anything from an address that is not mapped, but never the bytes
that were there before, and what it writes to one is seen nowhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio.conform.iova import free, page_of
from passthru.vfio.conform.kernel_ways import iommu_driver
from passthru.vfio.conform.registry import test
from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE
from passthru.vfio.stubs.pci import PCI_COMMAND, PCI_COMMAND_MASTER
from passthru.vfio.stubs.registers import Registers
from passthru.vfio.stubs.stub import DmaFault, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.buffer import Buffer
    from passthru.vfio.conform.case import Case
    from passthru.vfio.stubs.stub import Stub

_MAP = "VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP, VFIO_USER_DMA_MAP"
_FLAGS = "VFIO_DMA_MAP_FLAG_READ: readable from device, _WRITE: writable from device in <linux/vfio.h>"
_UNMAP = "VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP, VFIO_USER_DMA_UNMAP: the range is no longer reached by the device"

_PAGES = 8  # of each of the two buffers
_CONFIG = 7
_INTEL_IOMMU = "/sys/class/iommu/dmar0"


class Copier:
    """A source and a destination of eight pages each, mapped page by page in an order that is not that of the memory.

    ``source`` and ``destination`` are addresses for the device. `put` and `got` see the memory as the device does.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.stub: Stub = case.stub
        self.page = page_of(case)
        self.size = _PAGES * self.page
        room = -(-self.stub.workspace_size // self.page) * self.page
        self.source = free(case, 3 * self.size + room, self.stub.highest_iova)
        self.destination = self.source + self.size
        self.nowhere = self.destination + self.size
        if room:
            workspace = case.buffer(room)
            case.dma.map(self.nowhere + self.size, room, workspace.descriptor)
            self.stub.lend(Workspace(self.nowhere + self.size, workspace.memory))
        self.input, self.output = case.buffer(self.size), case.buffer(self.size)
        self._order = list(range(_PAGES))
        case.random.shuffle(self._order)
        self.map(self.source, self.input)
        self.map(self.destination, self.output)

    def map(self, iova: int, memory: Buffer, flags: int = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE) -> None:
        """Map each page by itself."""
        for number, place in enumerate(self._order):
            self.case.dma.map(iova + number * self.page, self.page, memory.descriptor, place * self.page, flags)

    def unmap(self, iova: int) -> None:
        """Unmap each page by itself."""
        for number in range(_PAGES):
            unmapped = self.case.dma.unmap(iova + number * self.page, self.page)
            self.case.expect(unmapped == self.page, f"{unmapped:#x} bytes were unmapped of {self.page:#x}")

    def put(self, memory: Buffer, offset: int, data: bytes) -> None:
        """Have these bytes where the device sees them."""
        for at, byte in enumerate(data, offset):
            memory.memory[self._order[at // self.page] * self.page + at % self.page] = byte

    def got(self, memory: Buffer) -> bytes:
        """The memory as the device sees it."""
        return b"".join(memory.memory[place * self.page : (place + 1) * self.page] for place in self._order)

    def copy(self, begin: int, end: int, size: int) -> None:
        """Have the device copy, from an offset in the source to one in the destination, and demand that it did."""
        data, before = self.case.random.randbytes(size), self.case.random.randbytes(self.size)
        self.put(self.input, begin, data)
        self.put(self.output, 0, before)
        self.stub.copy(self.source + begin, self.destination + end, size)
        self.demand(before[:end] + data + before[end + size :], f"{size} bytes from {begin:#x} to {end:#x}")

    def demand(self, wanted: bytes, what: str) -> None:
        """Demand that the destination holds these bytes."""
        found = self.got(self.output)
        wrong = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other), None)
        self.case.expect(
            wrong is None,
            f"the device copied {what}: at {wrong or 0:#x} of the destination is {found[wrong or 0]:#04x} and not"
            f" {wanted[wrong or 0]:#04x}",
        )

    def fails(self, source: int, destination: int, why: str) -> None:
        """Have the device copy what it must not reach; a device that tells of faults must do so."""
        try:
            self.stub.copy(source, destination, self.span)
        except (DmaFault, TimeoutError):
            return
        self.case.expect(not self.stub.tells_faults, f"the device told of no fault, {why}")

    @property
    def span(self) -> int:
        """As many bytes as cross a page where the device can copy so many."""
        return min(self.stub.largest_copy, self.page + 16)


@test("dma", "stub.copy", cites=_MAP)
def device_copies_across_pages(case: Case) -> None:
    """Bytes that lie across pages, which lie apart in memory, arrive as they are, and no other is touched."""
    copier = Copier(case)
    page, most = copier.page, case.stub.largest_copy
    for size in sorted({1, 2, min(7, most), min(page, most), copier.span, min(most, copier.size - 2 * page)}):
        copier.copy(page - size // 2 if size < page else page - 3, page - 1, size)


@test("dma", "stub.copy", cites=_MAP)
def device_copies_at_random(case: Case) -> None:
    """Random places and lengths: the right bytes arrive, and no other is touched."""
    copier = Copier(case)
    for _ in range(6):
        size = case.random.randint(1, min(case.stub.largest_copy, copier.size))
        begin, end = (case.random.randint(0, copier.size - size) for _ in range(2))
        copier.copy(begin, end, size)


@test("dma", "stub.copy", cites=_UNMAP)
def device_reads_nothing_that_is_not_mapped(case: Case) -> None:
    """From an address that was never mapped, or no longer is, none of the bytes in memory are read."""
    copier = Copier(case)
    secret = case.random.randbytes(copier.span)
    copier.put(copier.input, 0, secret)
    copier.fails(copier.nowhere, copier.destination, "reading an address that was never mapped")
    copier.copy(0, 0, copier.span)
    copier.put(copier.input, 0, secret)
    copier.unmap(copier.source)
    copier.fails(copier.source, copier.destination, "reading an address that is no longer mapped")
    case.expect(
        secret not in copier.got(copier.output), "the device read what was unmapped, and wrote it where it was told"
    )


@test("dma", "stub.copy", cites=_UNMAP)
def device_writes_nothing_that_is_not_mapped(case: Case) -> None:
    """At an address that was never mapped, or no longer is, nothing is written to any memory."""
    copier = Copier(case)
    copier.copy(0, 0, copier.span)
    copier.fails(copier.source, copier.nowhere, "writing at an address that was never mapped")
    _untouched(copier, lambda: copier.unmap(copier.destination), "unmapped")


@test("dma", "stub.copy", cites=_FLAGS)
def device_writes_nothing_that_it_may_only_read(case: Case) -> None:
    """Memory that is mapped for reading alone is read by the device, and not written."""
    copier = Copier(case)

    def read_only() -> None:
        copier.unmap(copier.destination)
        copier.map(copier.destination, copier.output, VFIO_DMA_MAP_FLAG_READ)

    _untouched(copier, read_only, "mapped for reading")
    copier.map(copier.nowhere, copier.input)
    data = case.random.randbytes(copier.span)
    copier.put(copier.output, 0, data)
    case.stub.copy(copier.destination, copier.nowhere, copier.span)
    case.expect(copier.got(copier.input)[: copier.span] == data, "the device did not read what was mapped for reading")


@test("dma", "stub.copy", cites=_FLAGS)
def device_reads_nothing_that_it_may_only_write(case: Case) -> None:
    """Memory that is mapped for writing alone is written by the device, and not read.

    Linux before 6.19 lets devices behind an Intel IOMMU read whatever is mapped (DMA_FL_PTE_PRESENT, a bit of tables of
    another kind, is set in all entries), and tables of an Arm SMMU's first stage have no bit against reading
    (io-pgtable-arm.c): skipped there.
    """
    if case.device.transport == "kernel" and iommu_driver(case).startswith("arm-smmu"):
        case.missing("an Arm SMMU lets devices read whatever is mapped")
    if case.device.transport == "kernel" and case.facts.version < (6, 19) and Path(_INTEL_IOMMU).exists():
        case.missing("Linux before 6.19 lets devices behind an Intel IOMMU read whatever is mapped")
    copier = Copier(case)
    copier.unmap(copier.source)
    copier.map(copier.source, copier.input, VFIO_DMA_MAP_FLAG_WRITE)
    secret = case.random.randbytes(copier.span)
    copier.put(copier.input, 0, secret)
    copier.fails(copier.source, copier.destination, "reading what is mapped for writing")
    case.expect(secret not in copier.got(copier.output), "the device read what was mapped for writing alone")
    copier.map(copier.nowhere, copier.output, VFIO_DMA_MAP_FLAG_READ)
    data = case.random.randbytes(copier.span)
    copier.put(copier.output, 0, data)
    case.stub.copy(copier.nowhere, copier.source, copier.span)
    case.expect(copier.got(copier.input)[: copier.span] == data, "the device did not write what was mapped for writing")


@test("dma", "stub.copy", cites=_MAP)
def device_reaches_what_is_mapped_last(case: Case) -> None:
    """Where other memory is mapped at the same address, the device reaches that, and no longer what was there."""
    copier = Copier(case)
    copier.copy(0, 0, copier.span)  # whatever is remembered of the old mapping is remembered by now
    old, copier.input = copier.input, case.buffer(copier.size)
    copier.unmap(copier.source)
    copier.map(copier.source, copier.input)
    copier.put(old, 0, case.random.randbytes(copier.span))
    copier.copy(0, 0, copier.span)
    old, copier.output = copier.output, case.buffer(copier.size)
    before = copier.got(old)
    copier.unmap(copier.destination)
    copier.map(copier.destination, copier.output)
    copier.copy(0, 0, copier.span)
    case.expect(copier.got(old) == before, "the device wrote to memory that was unmapped")


@test("dma", "stub.copy", cites=_MAP)
def device_reaches_memory_by_two_addresses(case: Case) -> None:
    """Memory that is mapped twice is the same memory at both addresses."""
    copier = Copier(case)
    copier.map(copier.nowhere, copier.output)
    data, span = case.random.randbytes(copier.span), copier.span
    copier.put(copier.input, 0, data)
    case.stub.copy(copier.source, copier.nowhere, span)
    copier.demand(data + bytes(copier.size - span), f"{span} bytes to the second address of the destination")
    copier.unmap(copier.nowhere)
    copier.copy(0, copier.page, span)


@test("dma", "stub.copy", "pci", cites="PCI_COMMAND_MASTER: a function masters the bus only where it is set")
def device_without_bus_mastering_reaches_nothing(case: Case) -> None:
    """While bus mastering is off, the device reads and writes no memory; turned on again, it does."""
    copier = Copier(case)
    config = Registers(case.device, _CONFIG, 2)
    command = config[PCI_COMMAND]
    case.keep(case.stub.prepare)

    def off() -> None:
        config[PCI_COMMAND] = command & ~PCI_COMMAND_MASTER

    _untouched(copier, off, "there, and bus mastering off")
    config[PCI_COMMAND] = command
    copier.copy(0, 0, copier.span)


def _untouched(copier: Copier, act: Callable[[], None], what: str) -> None:
    """Demand that the destination is not written any more, once something was done."""
    copier.copy(0, 0, copier.span)
    before = copier.case.random.randbytes(copier.size)
    copier.put(copier.output, 0, before)
    act()
    copier.fails(copier.source, copier.destination, f"writing to memory that was {what}")
    copier.case.expect(copier.got(copier.output) == before, f"the device wrote to memory that was {what}")
