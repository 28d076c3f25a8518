# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests can need of a target: the words for it, and which of them a target has."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_features as features
from passthru.vfio.info_capabilities import DirtyTracking
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.vfio.conform.bench import Bench
    from passthru.vfio.conform.description import Description
    from passthru.vfio.device import IrqInfo, Opened, VfioDevice

MISSING = {
    "kernel": "the device is reached by vfio-user and not by the kernel",
    "vfio-user": "the device is reached by the kernel and not by vfio-user",
    "container": "the device is not reached by a group and a container",
    "iommufd": "the device is not reached by iommufd",
    "type1": "the container is not one of type1",
    "noiommu": "the container is not one without an IOMMU",
    "pci": "the device is no PCI device",
    "platform": "the device is no platform device, nor an AMBA device, which is of the same sort",
    "fsl-mc": "the device is not on a fsl-mc bus",
    "dma": "the device reaches no memory of ours",
    "dirty": "dirty pages are not tracked",
    "mmap": "no region can be mapped",
    "reset": "the device has no VFIO_DEVICE_FLAGS_RESET",
    "migration": "the device does not offer migration",
    "irq": "no interrupt can be signalled by an eventfd",
    "maskable": "no interrupt can be masked",
    "intx": "the device has no INTx",
    "msi": "the device has no MSI",
    "msix": "the device has no MSI-X",
    "err": "the device has no error interrupt",
    "req": "the device has no request interrupt",
    "stub": "nobody has written a stub for this device",
    "stub.interrupt": "no stub can make this device interrupt",
    "stub.copy": "no stub can make this device reach memory",
    "stub.loop": "no stub can make this device loop data",
    "stub.readable": "no stub says which registers of this device can be read without an effect",
    "stub.scratch": "no stub says which registers of this device keep what is written",
    "kvm": "/dev/kvm cannot be used",
}
"""Each word with the sentence for a target that has not got it."""

OF_ANOTHER_KIND = frozenset(
    {"kernel", "vfio-user", "container", "iommufd", "type1", "noiommu", "pci", "platform", "fsl-mc"}
)
"""Words for what a target is: a test that needs another one does not apply to it, and nothing is missing."""

BUSES = {
    vfio.VFIO_DEVICE_FLAGS_PCI: "pci",
    vfio.VFIO_DEVICE_FLAGS_PLATFORM: "platform",
    vfio.VFIO_DEVICE_FLAGS_AMBA: "amba",
    vfio.VFIO_DEVICE_FLAGS_FSL_MC: "fsl-mc",
}
_IRQ_WORDS = {"intx": 0, "msi": 1, "msix": 2, "err": 3, "req": 4}
MOST_INDEXES = 64  # that are looked at, whatever a device claims to have

LOST = (ConnectionError, TimeoutError)
"""What a device server does that cannot be asked any further."""


def capabilities_of(description: Description, bench: Bench) -> frozenset[str]:
    """The words that hold for a target. What fails while it is asked counts as not there: tests tell of it."""
    return frozenset(word for word, holds in _questions(description, bench) if _yes(bench, holds))


def _yes(bench: Bench, holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except LOST:  # the next question goes to a new opening, or this server's other tests would be skipped
        bench.drop()
    except (OSError, Malformed):  # a device that answers nonsense here is judged by the tests
        pass
    return False


def _questions(description: Description, bench: Bench) -> Iterator[tuple[str, Callable[[], object]]]:
    def device() -> VfioDevice:
        return bench.opened.device

    yield "kernel", lambda: description.target.transport == "kernel"
    yield "vfio-user", lambda: description.target.transport == "vfio-user"
    way = description.container
    yield "container", lambda: way in ("type1", "type1v2", "noiommu")
    yield "type1", lambda: way in ("type1", "type1v2")
    yield "iommufd", lambda: way == "iommufd"
    yield "noiommu", lambda: way == "noiommu"
    for bus in BUSES.values():
        yield bus, partial(_is_on, bench, bus, *(("amba",) if bus == "platform" else ()))
    yield "dma", lambda: bench.opened.dma is not None
    yield "dirty", lambda: any(isinstance(each, DirtyTracking) for each in _dma_chain(bench.opened))
    yield "mmap", lambda: _can_map(device())
    yield "reset", lambda: device().info().flags & vfio.VFIO_DEVICE_FLAGS_RESET
    yield "migration", lambda: _offers_migration(device())
    yield "irq", lambda: irqs_of(device())
    yield "maskable", lambda: [irq for irq in irqs_of(device()) if irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE]
    for word, index in _IRQ_WORDS.items():
        yield word, partial(_has_pci_irq, bench, index)
    yield "stub", lambda: bench.stub
    yield "stub.interrupt", lambda: bench.stub and bench.stub.interrupts
    yield "stub.copy", lambda: bench.stub and bench.stub.largest_copy
    yield "stub.loop", lambda: bench.stub and bench.stub.largest_loop
    yield "stub.readable", lambda: bench.stub and bench.stub.readable
    yield "stub.scratch", lambda: bench.stub and bench.stub.scratch
    yield "kvm", lambda: os.access("/dev/kvm", os.R_OK | os.W_OK)


def _is_on(bench: Bench, *buses: str) -> bool:
    return bus_of(bench.opened.device) in buses


def _has_pci_irq(bench: Bench, index: int) -> bool:
    return _is_on(bench, "pci") and any(irq.index == index for irq in irqs_of(bench.opened.device))


def bus_of(device: VfioDevice) -> str:
    """The bus by VFIO_DEVICE_GET_INFO's flags; "unknown" where they name none of ours or cannot be had. Raises LOST."""
    try:
        flags = device.info().flags
    except LOST:
        raise
    except (OSError, Malformed):
        return "unknown"
    return next((bus for flag, bus in BUSES.items() if flags & flag), "unknown")


def irqs_of(device: VfioDevice) -> tuple[IrqInfo, ...]:
    """The indexes with interrupts that eventfds can signal; without those that cannot be asked for. Raises LOST."""
    found = []
    try:
        number = min(device.info().num_irqs, MOST_INDEXES)
    except LOST:
        raise
    except (OSError, Malformed):
        return ()
    for index in range(number):
        try:
            irq = device.irq_info(index)
        except LOST:
            raise
        except (OSError, Malformed):  # a PCI device without an error interrupt refuses its index
            continue
        if irq.count and irq.flags & vfio.VFIO_IRQ_INFO_EVENTFD:
            found.append(irq)
    return tuple(found)


def _can_map(device: VfioDevice) -> bool:
    for index in range(min(device.info().num_regions, MOST_INDEXES)):
        try:
            region = device.region_info(index)
        except LOST:
            raise
        except OSError:  # the VGA region of a PCI device without VGA
            continue
        if region.size and region.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP:
            return True
    return False


def _dma_chain(opened: Opened) -> tuple[object, ...]:
    return opened.dma.info().capabilities if opened.dma else ()


def _offers_migration(device: VfioDevice) -> bool:
    probe = features.VFIO_DEVICE_FEATURE_PROBE | features.VFIO_DEVICE_FEATURE_GET
    device.feature(features.VFIO_DEVICE_FEATURE_MIGRATION | probe, bytes(features.FEATURE_MIGRATION.size))
    return True
