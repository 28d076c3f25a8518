# SPDX-License-Identifier: GPL-2.0-or-later
"""A DPAA2 container of a rig in the guest of a run, where the guest's QEMU has no device for it.

Then a process on the host holds the container and stands beside QEMU (`passthru.emulation.fsl_mc_bridge`): it is
started before QEMU, shares the guest's RAM, and is watched as a device server is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from passthru.errors import DeadlineExceeded, GuestTrouble, MissingCapability, UserMistake
from passthru.host import ChildSpec
from passthru.qemu import guest_fsl_mc
from passthru.run.companions import last_words
from passthru.scenario.passed_through import FslMcDevice

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.deadline import Deadline
    from passthru.host import Child, Host
    from passthru.host.devices import Prepared
    from passthru.qemu.binary import Qemu
    from passthru.scenario.models import GuestSpec, Scenario

RAM, QTEST = "ram", "qtest"
"""The worker's sockets by these names: the guest's RAM, which is a file there, and where its interrupts come in."""
LEAST_MIB = 256
"""RAM of a guest: with less the windows are where QEMU puts what the guest boots from."""
SECONDS = 30.0
"""Until the process holds the container, before scaling."""

_READY = "ready"


def bridged(scenario: Scenario, qemu: Qemu) -> str:
    """The device whose container reaches the guest by a process beside ``qemu``; empty where there is none.

    Raises UserMistake for what that cannot give; MissingCapability where only a QEMU with a device of its own will do.
    """
    containers = [name for name, device in scenario.passed_through.items() if isinstance(device, FslMcDevice)]
    if not containers or guest_fsl_mc.takes_containers(qemu):
        return ""
    name = containers[0]
    without = f"{qemu.title} has no {guest_fsl_mc.DRIVER}"
    if scenario.host.kind != "rig":
        raise MissingCapability(
            guest_fsl_mc.DRIVER, f"{without}, which device.{name} needs on this machine; name a QEMU that has it"
        )
    if len(containers) > 1:
        raise UserMistake(f"{without}, and without it a guest gets one container; leave out device.{containers[1]}")
    if scenario.passed_through[name].container != "type1":
        raise UserMistake(
            f'{without}, and what stands in for it holds device.{name} by its VFIO group; take container = "type1"'
        )
    guest = scenario.guest
    if guest.machine != guest_fsl_mc.MACHINE:
        raise UserMistake(
            f"device.{name} is for a guest's fsl-mc bus, and the guest's machine is {guest.machine!r}, which can have "
            'none; take a rig with host.arch = "arm64"'
        )
    if guest.memory < LEAST_MIB:
        raise UserMistake(
            f"a guest with device.{name} needs {LEAST_MIB} MiB of RAM for its windows and what it boots from, and has "
            f"{guest.memory}; set guest.memory"
        )
    return name


def qemu_arguments() -> tuple[str, ...]:
    """What the guest's QEMU is told beside its RAM and its device tree."""
    return guest_fsl_mc.qtest_arguments(f"{{socket:{QTEST}}}")


def settings(address: str, group: str, guest: GuestSpec, *, ready: str = "") -> str:
    """What the process is told, as JSON with placeholders; ``address`` is the container's, ``group`` its number."""
    return guest_fsl_mc.bridge_settings(
        address, f"/dev/vfio/{group}", f"{{socket:{RAM}}}", guest.memory, f"{{socket:{QTEST}}}", ready=ready
    )


async def start(name: str, made: Prepared, guest: GuestSpec, host: Host, deadline: Deadline, output: Path) -> Child:
    """The process for the device ``name``, holding its container. Raises GuestTrouble of the device, WorkerLost."""
    told = settings(made.address, str(made.group), guest, ready=f"{{stream:{_READY}}}")
    command = host.own_command(guest_fsl_mc.MODULE, told)
    child = await host.start(ChildSpec(name, command, streams=(_READY,), output=output))
    said = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(child.streams[_READY], 64))
    either: set[asyncio.Future[Any]] = {said, child.exited}
    limit = deadline.narrowed(SECONDS)
    try:
        async with limit.waiting_for(f"{name} to hold {made.address}"):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not (said.done() and said.result()):
                end = await child.wait()  # raises where the worker has gone
                raise GuestTrouble(
                    "device", f"the device server {name} {end} before it held {made.address}{last_words(output)}"
                )
    except DeadlineExceeded as error:
        raise GuestTrouble(
            "device",
            f"the device server {name} did not hold {made.address} in {error.seconds:.1f} s{last_words(output)}",
        ) from error
    finally:
        said.cancel()
    return child
