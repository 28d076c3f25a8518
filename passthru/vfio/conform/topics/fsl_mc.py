# SPDX-License-Identifier: GPL-2.0-or-later
"""DPAA2 containers: commands by the portal that is region 0, the objects beside it in its group, their interrupts.

What needs an object to interrupt by itself uses the copy engine in a dpio of passthru's management complex.
"""

from __future__ import annotations

import errno
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform import places
from passthru.vfio.conform.irq_calls import assign, disable, loop
from passthru.vfio.conform.registry import test
from passthru.vfio.stubs.dprc import engine_of
from passthru.vfio.stubs.mc_portal import (
    GET_ATTRIBUTES,
    GET_VERSION,
    OK,
    PORTAL,
    SIZE,
    UNSUPPORTED,
    McPortal,
    McRefused,
    create,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.vfio.conform.case import Case
    from passthru.vfio.device import VfioDevice
    from passthru.vfio.stubs.mc_portal import McObject

_INFO = "VFIO_DEVICE_GET_INFO: VFIO_DEVICE_FLAGS_FSL_MC in <linux/vfio.h>"
_GROUP = 'VFIO_GROUP_GET_DEVICE_FD; "vfio/fsl-mc: Add VFIO framework skeleton": a container is given away whole'
_PORTAL = "pread(2) and pwrite(2) of region 0; vfio_fsl_mc.c: a command of 64 bytes at offset 0"
_COMMAND = _PORTAL + "; enum mc_cmd_status in <linux/fsl/mc.h>"
_ISOLATION = '"vfio/fsl-mc: Add VFIO framework skeleton": the guest is not allowed to add or remove objects'
_MMAP = "VFIO_REGION_INFO_FLAG_MMAP in <linux/vfio.h>; vfio_fsl_mc.c: whole pages, and nothing of a container"
_IRQ = "VFIO_DEVICE_GET_IRQ_INFO: VFIO_IRQ_INFO_EVENTFD in <linux/vfio.h>"
_LOOP = "VFIO_DEVICE_SET_IRQS: DATA_NONE with ACTION_TRIGGER: kernel level interrupt loopback"
_SET = "VFIO_DEVICE_SET_IRQS: DATA_EVENTFD with ACTION_TRIGGER in <linux/vfio.h>"
_DISABLE = "VFIO_DEVICE_SET_IRQS: the index can be disabled as a whole with DATA_NONE, ACTION_TRIGGER and count 0"
_RESET = "VFIO_DEVICE_RESET; vfio_fsl_mc.c: the container is reset by the Management Complex"

_NO_COMMAND = 0x7FF  # no code of the Management Complex's
_ROOT = 1  # dprc.1, which is the host's
_SECONDS = 2.0  # within which an interrupt comes
_SILENCE = 0.05  # seconds for one to come that must not


@test("fsl-mc", cites=_INFO)
def device_info_names_a_container(case: Case) -> None:
    """The flags name the bus fsl-mc; a container can be reset, and has a portal."""
    info = case.device.info()
    wanted = vfio.VFIO_DEVICE_FLAGS_FSL_MC | vfio.VFIO_DEVICE_FLAGS_RESET
    case.expect(info.flags == wanted, f"flags {info.flags:#x} and not {wanted:#x}")
    case.expect(info.num_regions, "the container has no region for its portal")
    region = case.device.region_info(PORTAL)
    both = vfio.VFIO_REGION_INFO_FLAG_READ | vfio.VFIO_REGION_INFO_FLAG_WRITE
    case.expect(region.flags == both, f"the portal has flags {region.flags:#x}: to read and to write, and not to map")
    case.expect(region.size >= SIZE, f"the portal has {region.size} bytes, and a command {SIZE}")


@test("fsl-mc", cites=_PORTAL)
def a_portal_takes_whole_commands_alone(case: Case) -> None:
    """Reads and writes of the portal that are not of 64 bytes at its beginning are EINVAL, and change nothing."""
    answer = McPortal(case.device).command(GET_VERSION)
    for offset, size in ((0, 1), (0, 8), (0, 32), (0, 63), (0, 65), (0, 128), (8, 56), (8, 64), (1, 64)):
        with case.refused(errno.EINVAL, what=f"a read of {size} bytes at {offset} of the portal"):
            case.device.read(PORTAL, offset, size)
        with case.refused(errno.EINVAL, what=f"a write of {size} bytes at {offset} of the portal"):
            case.device.write(PORTAL, offset, bytes(size))
    found = case.device.read(PORTAL, 0, SIZE)[-len(answer.parameters) :]
    case.expect(found == answer.parameters, "the last answer in the portal changed")


@test("fsl-mc", cites=_COMMAND)
def a_command_is_answered(case: Case) -> None:
    """The Management Complex tells its version, the same each time."""
    portal = McPortal(case.device)
    first, second = portal.send(GET_VERSION), portal.send(GET_VERSION)
    case.expect(first.status == OK, f"the version is answered with status {first.status:#x}")
    case.expect(
        first.parameters == second.parameters, f"first {first.parameters.hex()}, then {second.parameters.hex()}"
    )
    case.expect(first.word(4), "the major version of the Management Complex is 0")


@test("fsl-mc", cites=_COMMAND)
def a_command_that_nobody_knows_is_answered_so(case: Case) -> None:
    """What the Management Complex does not carry out is no error of the write, and tells its status in the answer."""
    portal = McPortal(case.device)
    with portal.session("dprc", portal.container()) as token:
        answer = portal.send(_NO_COMMAND, token=token)
    case.expect(answer.status == UNSUPPORTED, f"the status is {answer.status:#x}, and not {UNSUPPORTED:#x}")
    case.expect(portal.send(GET_VERSION).status == OK, "no command is answered after that")


@test("fsl-mc", cites=_COMMAND)
def a_session_ends(case: Case) -> None:
    """A token stands for the object that was opened, until it is closed."""
    portal = McPortal(case.device)
    number = portal.container()
    with portal.session("dprc", number) as token:
        told = portal.command(GET_ATTRIBUTES, token=token).word(0)
        case.expect(told == number, f"dprc.{number} was opened, and the token is of dprc.{told}")
    case.expect(portal.send(GET_ATTRIBUTES, token=token).status != OK, "a token is good after its session was closed")


@test("fsl-mc", "kernel", cites=_COMMAND)
def the_container_is_the_one_that_was_given(case: Case) -> None:
    """The portal is that of the container with the device's name."""
    number = McPortal(case.device).container()
    case.expect(case.facts.identity.name == f"dprc.{number}", f"{case.facts.identity.name} has the portal of {number}")


@test("fsl-mc", "kernel", cites=_GROUP)
def the_objects_are_those_of_sysfs(case: Case) -> None:
    """What the Management Complex lists in the container is what the kernel has below it."""
    home = Path("/sys/bus/fsl-mc/devices", case.facts.identity.name)
    below = sorted(path.parent.name for path in home.glob("dp*/driver_override"))
    listed = sorted(each.name for each in McPortal(case.device).objects())
    case.expect(listed == below, f"the Management Complex lists {listed}, and sysfs has {below}")


@test("fsl-mc", cites=_ISOLATION)
def another_container_cannot_be_reached(case: Case) -> None:
    """By this portal nobody opens the container above, which is the host's."""
    portal = McPortal(case.device)
    try:
        token = portal.open("dprc", _ROOT)
    except McRefused:
        return
    case.fail(f"dprc.{_ROOT} was opened by the portal of dprc.{portal.container()}, token {token}")


@test("fsl-mc", cites=_ISOLATION)
def the_container_cannot_be_changed(case: Case) -> None:
    """Creating an object in the container is refused, and nothing is in it afterwards that was not before."""
    portal = McPortal(case.device)
    before = portal.objects()
    with portal.session("dprc", portal.container()) as token:
        status = portal.send(create("dpbp"), token=token).status
    case.expect(status != OK, "an object was created in a container that was given away")
    case.expect(portal.objects() == before, "the objects of the container changed")


@test("fsl-mc", "kernel", cites=_GROUP)
def each_object_is_a_device(case: Case) -> None:
    """Every object is in the container's group, with as many regions and interrupts as it has."""
    for item, device in _objects(case):
        info = device.info()
        case.expect(info.flags & vfio.VFIO_DEVICE_FLAGS_FSL_MC, f"{item.name} has flags {info.flags:#x}")
        case.expect(
            (info.num_regions, info.num_irqs) == (item.regions, item.irqs),
            f"{item.name} has {info.num_regions} regions and {info.num_irqs} interrupts as a device, and"
            f" {item.regions} and {item.irqs} by the Management Complex",
        )


@test("fsl-mc", "kernel", cites=_MMAP)
def regions_of_whole_pages_map(case: Case) -> None:
    """A region of an object that is whole pages can be mapped, and shows what is read; the others cannot.

    Only where the registers are known are they looked at: those of hardware can be changed by that.
    """
    for item, device in _objects(case):
        for region in places.regions(device):
            whole = region.size and not region.size % mmap.PAGESIZE
            maps = bool(region.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP)
            where = f"region {region.index} of {item.name}, {region.size:#x} bytes"
            case.expect(not maps or whole, f"{where}, can be mapped")
            if not maps:
                with case.refused(errno.EINVAL, what=f"mapping {where}"):
                    case.map(device, region.index, 0, mmap.PAGESIZE)
                continue
            mapped = case.map(device, region.index, 0, region.size)
            if _has_engine(item, device):
                shown, read = places.peek(case, mapped, 0, SIZE, 8), device.read(region.index, 0, SIZE)
                case.expect(shown == read, f"{where}: mapped {shown.hex()}, read {read.hex()}")
            with case.refused(errno.EINVAL, what=f"mapping {where}, from its end on"):
                case.map(device, region.index, region.size, mmap.PAGESIZE)


@test("fsl-mc", "kernel", cites=_IRQ)
def interrupts_of_objects_are_messages(case: Case) -> None:
    """Each index of an object is one interrupt, which can be given an eventfd and cannot be masked."""
    for item, device in _objects(case):
        for index in range(device.info().num_irqs):
            irq = device.irq_info(index)
            case.expect(
                (irq.flags, irq.count) == (vfio.VFIO_IRQ_INFO_EVENTFD, 1),
                f"index {index} of {item.name} has flags {irq.flags:#x} and {irq.count} interrupts",
            )


@test("fsl-mc", "kernel", cites=_LOOP)
def objects_signal_by_loopback(case: Case) -> None:
    """The interrupt of every object signals its own eventfd when it is triggered, and no other object's."""
    given = {}
    for item, device in _objects(case):
        if item.irqs:
            given[item.name] = device, case.eventfd()
            assign(device, 0, [given[item.name][1]])
    for name, (device, _) in given.items():
        loop(device, 0)
        found = {each: case.signals(eventfd) for each, (_, eventfd) in given.items()}
        case.expect(
            found == {each: int(each == name) for each in given}, f"{name} was triggered: signalled were {found}"
        )
    for device, _ in given.values():
        disable(device, 0)


@test("fsl-mc", "kernel", "stub.copy", cites=_SET)
def a_message_signals(case: Case) -> None:
    """An interrupt that an object raises signals its eventfd, once each time, where its causes were enabled."""
    portal = McPortal(case.device)
    item, dpio = _dpio(case)
    eventfd = case.eventfd()
    assign(dpio, 0, [eventfd])
    with portal.session(item.kind, item.number) as token:
        portal.set_irq(token, enabled=True)
        for number in range(3):
            _raise(dpio)
            _came(case, eventfd, 1, f"interrupted for the {number + 1}. time")
            case.expect(portal.irq_status(token), f"{item.name} interrupted, and tells of no cause")
            portal.clear_irq(token)
        portal.set_irq(token, enabled=False)
        _raise(dpio)
        _came(case, eventfd, 0, "has its interrupt disabled")
        portal.clear_irq(token)
        assign(dpio, 0, [-1])
        portal.set_irq(token, enabled=True)
        _raise(dpio)
        _came(case, eventfd, 0, "has no eventfd any more")
        portal.clear_irq(token)
        assign(dpio, 0, [eventfd])
        _raise(dpio)
        _came(case, eventfd, 1, "interrupted after it was given an eventfd again")


@test("fsl-mc", "kernel", "stub.copy", "reset", cites=_RESET)
def a_reset_quiets_the_objects(case: Case) -> None:
    """After a reset of the container, no object in it has its interrupt enabled, and no session from before is good."""
    portal = McPortal(case.device)
    item, _ = _dpio(case)
    token = portal.open(item.kind, item.number)
    portal.set_irq(token, enabled=True)
    case.expect(portal.irq_enabled(token), f"the interrupt of {item.name} cannot be enabled")
    case.reset()
    case.expect(portal.send(GET_ATTRIBUTES, token=token).status != OK, "a session lives on after a reset")
    with portal.session(item.kind, item.number) as token:
        case.expect(not portal.irq_enabled(token), f"the interrupt of {item.name} is enabled after a reset")


@test("fsl-mc", "irq", cites=_DISABLE, fresh=True)
def an_index_that_nobody_enabled_is_disabled(case: Case) -> None:
    """An index can be disabled whether or not it was enabled before, or that is refused."""
    device = case.open().device
    with case.may_be_refused():
        disable(device, 0)


def _objects(case: Case) -> Iterator[tuple[McObject, VfioDevice]]:
    for item in McPortal(case.device).objects():
        yield item, case.neighbour(item.name)


def _dpio(case: Case) -> tuple[McObject, VfioDevice]:
    """An object that can be made to interrupt, and does not now."""
    for item, device in _objects(case):
        if item.irqs and _has_engine(item, device):
            with engine_of(device) as engine:
                assert engine is not None
                engine.quiet()
            return item, device
    return case.missing("no object of the container is known to interrupt for us")


def _has_engine(item: McObject, device: VfioDevice) -> bool:
    if item.kind != "dpio" or item.regions < 2:
        return False
    with engine_of(device) as engine:
        return engine is not None


def _raise(dpio: VfioDevice) -> None:
    with engine_of(dpio) as engine:
        assert engine is not None
        engine.quiet()
        engine.interrupt()


def _came(case: Case, eventfd: int, wanted: int, what: str) -> None:
    found = case.signals(eventfd, _SECONDS if wanted else _SILENCE)
    case.expect(found == wanted, f"the eventfd of an object that {what} was signalled {found} times")
