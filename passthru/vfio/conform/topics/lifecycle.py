# SPDX-License-Identifier: GPL-2.0-or-later
"""Resetting, opening, closing, and closing in the midst of things."""

from __future__ import annotations

import contextlib
import errno
import mmap
from itertools import permutations
from typing import TYPE_CHECKING, cast

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform import config_space as pci
from passthru.vfio.conform import places
from passthru.vfio.conform.capabilities import irqs_of
from passthru.vfio.conform.config_space import ConfigSpace
from passthru.vfio.conform.irq_calls import assign, enabled, loop, not_enabled, rearm, vectors
from passthru.vfio.conform.registry import test
from passthru.vfio.device import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import Opened, VfioDevice
    from passthru.vfio.kernel.target import KernelTarget

_RESET = "VFIO_DEVICE_RESET and VFIO_DEVICE_FLAGS_RESET in <linux/vfio.h>"
_HOT_RESET = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO in <linux/vfio.h>"
_CLOSE = "close(2) of the device; Documentation/driver-api/vfio.rst: the user is to be able to do no harm"
_OWNER = "Documentation/driver-api/vfio.rst: a device has one user at a time; vfio-user.rst: a server has one client"
_IOVA = 0x100000
_BIG = 0x1000  # bytes of argsz: room for 508 devices in a hot reset
_ORDERS = "Documentation/driver-api/vfio.rst: descriptors hold what they need, and are closed in any order"


@test("reset", cites=_RESET)
def a_reset_leaves_the_device_there(case: Case) -> None:
    """After a reset the device is the same: its info, its regions, its interrupts."""
    before = _described(case.device)
    case.reset()
    after = _described(case.device)
    case.expect(after == before, f"before {before}, after {after}")


@test("reset", "pci", cites=_RESET)
def a_reset_leaves_the_identity(case: Case) -> None:
    """After a reset, configuration space names the same device."""
    config = ConfigSpace(case.device)
    places_of_it = (pci.PCI_VENDOR_ID, pci.PCI_CLASS_REVISION, pci.PCI_SUBSYSTEM_VENDOR_ID)
    before = [config.get(at, 4) for at in places_of_it]
    case.reset()
    after = [config.get(at, 4) for at in places_of_it]
    case.expect(after == before, f"before {before}, after {after}")


@test("reset", "stub.scratch", cites=_RESET)
def a_reset_forgets_what_was_written(case: Case) -> None:
    """What was written to the device is gone after a reset: it is as after the reset before.

    A reset driver of vfio-platform need not go so far: those of the kernel stop DMA and interrupts.
    """
    if "platform" in case.facts.capabilities:
        case.missing("the reset driver of a platform device has to make it quiet, and no more")
    case.reset()
    parts = places.scratch(case)
    fresh = [places.read(case.device, part) for part in parts]
    for part, data in zip(parts, fresh, strict=True):
        places.write(case, part, bytes(byte ^ 0x5A for byte in data))
    case.reset()
    for part, data in zip(parts, fresh, strict=True):
        found = places.read(case.device, part)
        case.expect(
            found == data,
            f"region {part.region} at {part.offset:#x} was {data[:16].hex()} after a reset,"
            f" and {found[:16].hex()} after another",
        )


@test("kernel", cites=_RESET)
def a_reset_that_is_not_offered_is_refused(case: Case) -> None:
    """Without VFIO_DEVICE_FLAGS_RESET, a reset is EINVAL or ENOTTY."""
    if "reset" in case.facts.capabilities:
        case.missing("the device can be reset")
    with case.refused(errno.EINVAL, errno.ENOTTY, what="a reset, which the device does not offer,"):
        case.device.reset()


@test("reset", "irq", cites=_RESET)
def a_reset_with_interrupts_enabled_does_no_harm(case: Case) -> None:
    """A device with interrupts enabled is reset; afterwards they can be disabled, enabled and triggered."""
    for irq in case.irqs():
        with enabled(case, irq, vectors(case, irq)):
            case.reset()
        with enabled(case, irq) as (eventfd,):
            loop(case.device, irq.index)
            case.expect(case.signals(eventfd) == 1, f"index {irq.index} does not signal after a reset")


@test("kernel", "pci", cites=_HOT_RESET)
def hot_reset_info_names_the_device(case: Case) -> None:
    """The devices that a hot reset concerns are told, this one among them, where its bus or slot can be reset."""
    try:
        answer = case.device.call(Call.GET_PCI_HOT_RESET_INFO, vfio.HOT_RESET_INFO.pack(_BIG, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOTTY:
            case.missing("the device's driver knows no hot reset")
        case.expect(error.errno == errno.ENODEV, f"hot reset info was refused with {error}")
        case.missing("neither the device's bus nor its slot can be reset")
    _, _, count = vfio.HOT_RESET_INFO.unpack_from(answer)
    end = vfio.HOT_RESET_INFO.size + count * vfio.DEPENDENT_DEVICE.size
    case.expect(count and end <= len(answer), f"there are {count} devices in {len(answer)} bytes")
    names = [
        f"{segment:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7}"
        for _, segment, bus, devfn in vfio.DEPENDENT_DEVICE.iter_unpack(answer[vfio.HOT_RESET_INFO.size : end])
    ]
    name = case.facts.identity.name
    case.expect(name in names, f"{name} is not among {', '.join(names)}")


@test("kernel", "pci", cites=_HOT_RESET)
def hot_reset_info_checks_argsz(case: Case) -> None:
    """An argsz without room for the structure is EINVAL, one without room for the devices ENOSPC."""
    if not _answers_hot_reset(case):
        case.missing("neither the device's bus nor its slot can be reset")
    size = vfio.HOT_RESET_INFO.size
    for argsz, code in ((0, errno.EINVAL), (size - 1, errno.EINVAL), (size, errno.ENOSPC)):
        with case.refused(code, what=f"hot reset info with argsz {argsz}"):
            case.device.call(Call.GET_PCI_HOT_RESET_INFO, vfio.HOT_RESET_INFO.pack(argsz, 0, 0))


@test(cites=_CLOSE, fresh=True)
def a_device_opens_again_and_again(case: Case) -> None:
    """Closed, the device can be opened again, and is the same."""
    seen = []
    for _ in range(3):
        opened = case.open()
        seen.append(_described(opened.device))
        opened.close()
    case.expect(seen[0] == seen[1] == seen[2], f"the device changed: {seen}")


@test("irq", cites=_CLOSE, fresh=True)
def closing_with_interrupts_enabled_lets_go_of_them(case: Case) -> None:
    """Closed with an interrupt enabled, the device lets its eventfd go: opened again, nothing is enabled."""
    opened = case.open()
    irqs = irqs_of(opened.device)
    eventfds = []
    for irq in irqs[:1]:
        eventfds = [case.eventfd() for _ in range(vectors(case, irq))]
        assign(opened.device, irq.index, eventfds)
    opened.close()
    again = case.open()
    with not_enabled(case, f"a trigger of index {irqs[0].index}, enabled before the device was closed"):
        loop(again.device, irqs[0].index)
    found = [case.signals(eventfd) for eventfd in eventfds]
    case.expect(not any(found), f"eventfds of a closed device were signalled {found} times")


@test("dma", cites=_CLOSE, fresh=True)
def closing_with_memory_mapped_lets_go_of_it(case: Case) -> None:
    """Closed with memory mapped, the device lets it go: opened again, the same addresses can be mapped."""
    buffer = case.buffer(mmap.PAGESIZE)
    for _ in range(2):
        opened = case.open()
        assert opened.dma is not None  # what the test needs
        opened.dma.map(_IOVA, buffer.size, buffer.descriptor)
        opened.close()


@test("mmap", cites=_CLOSE + "; mmap(2): closing the descriptor does not unmap", fresh=True)
def closing_before_unmapping_a_region(case: Case) -> None:
    """A region's mapping outlives its descriptor; once it is gone too, the device opens again."""
    opened = case.open()
    mapped = []
    for region in places.mappable(opened.device):
        offset, size = places.areas(region)[0]
        mapped.append(opened.device.map(region.index, offset, size))
    opened.close()
    for each in mapped:
        each.close()
    case.open()


@test("container", cites=_ORDERS, fresh=True)
def device_group_and_container_close_in_any_order(case: Case) -> None:
    """Device, group and container can be closed in any order; then the device opens again."""
    target = cast("KernelTarget", case.target)
    _close_in_any_order(case, target.open_group, ("device", "group", "container"))


@test("iommufd", cites=_ORDERS, fresh=True)
def device_and_iommufd_close_in_any_order(case: Case) -> None:
    """Device and iommufd can be closed in any order; then the device opens again."""
    target = cast("KernelTarget", case.target)
    _close_in_any_order(case, target.open_file, ("device", "iommufd"))


@test(cites=_OWNER, fresh=True)
def a_second_opener_does_not_disturb_the_first(case: Case) -> None:
    """While the device is open nobody else gets it from the kernel; whoever tries, the first has it as before."""
    first = case.open()
    before = _described(first.device)
    try:
        second = case.open()
    except OSError as error:
        codes = (errno.EBUSY, errno.EINVAL)
        kernel = case.facts.transport == "kernel"
        case.expect(not kernel or error.errno in codes, f"the second opener was refused with {error}")
    else:
        case.expect(case.facts.transport != "kernel", "the kernel let a second user have the device")
        second.close()
    after = _described(first.device)
    case.expect(after == before, f"before {before}, after {after}")
    first.close()
    _opens(case, "after its first user closed it")


@test("irq", cites=_OWNER, fresh=True)
def the_first_of_two_openers_keeps_its_interrupts(case: Case) -> None:
    """What the first has enabled signals as before after somebody else tried to open the device."""
    first = case.open()
    irq = irqs_of(first.device)[0]
    eventfd = case.eventfd()
    assign(first.device, irq.index, [eventfd])
    with contextlib.suppress(OSError):
        case.open().close()
    for _ in range(2):
        loop(first.device, irq.index)
        found = case.signals(eventfd, device=first.device)
        case.expect(found == 1, f"index {irq.index} signalled {found} times after a second opener")
        rearm(first.device, irq)


def _described(device: VfioDevice) -> tuple[object, ...]:
    return device.info(), places.regions(device), irqs_of(device)


def _answers_hot_reset(case: Case) -> bool:
    try:
        case.device.call(Call.GET_PCI_HOT_RESET_INFO, vfio.HOT_RESET_INFO.pack(_BIG, 0, 0))
    except OSError:
        return False
    return True


def _close_in_any_order(case: Case, open_it: Callable[[], Opened], parts: tuple[str, ...]) -> None:
    before = "at first"
    for order in permutations(parts):
        try:
            opened = open_it()
        except OSError as error:
            case.fail(f"the device does not open {before}: {error}")
        case.keep(opened.close)
        for part in order:
            getattr(opened, part).close()
        before = f"after {', '.join(order)} were closed in this order"
    _opens(case, before)


def _opens(case: Case, when: str) -> None:
    try:
        case.open().close()
    except OSError as error:
        case.fail(f"the device does not open {when}: {error}")
