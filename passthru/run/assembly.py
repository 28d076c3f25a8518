# SPDX-License-Identifier: GPL-2.0-or-later
"""From a plan to the programs that the worker starts: device servers and QEMU. Nothing is started here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passthru.check.context import AssignedDevice
from passthru.host import ChildSpec
from passthru.host.python import lean_command
from passthru.qemu.argv import Vm, command_line, guest_argv, streams, vfio_user

if TYPE_CHECKING:
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan

QEMU = "qemu"


def machine(plan: Plan) -> Vm:
    """The guest's machine, with its devices."""
    guest = plan.scenario.guest
    devices = plan.scenario.device.items()
    return Vm(
        kernel=plan.kernel.image,
        initrd=plan.image.path,
        cmdline=command_line(*guest.cmdline.split()),
        machine=guest.machine,
        memory_mib=guest.memory,
        cpus=guest.cpus,
        devices=tuple(vfio_user(name, name, slot=device.address) for name, device in devices),
    )


def qemu_child(plan: Plan, directory: RunDirectory) -> ChildSpec:
    """QEMU with the guest."""
    vm = machine(plan)
    return ChildSpec(
        name=QEMU,
        argv=guest_argv(plan.qemu, plan.accelerator, vm),
        env=plan.qemu.env,
        streams=streams(vm),
        output=directory.output(QEMU),
    )


def companions(plan: Plan, directory: RunDirectory) -> tuple[ChildSpec, ...]:
    """A device server for each device that is a model."""
    return tuple(
        ChildSpec(
            name=name,
            argv=(
                *server_command(plan, name),
                *("--trace", str(directory.trace(name))),
                *("--listen-fd", f"{{listen:{name}}}"),
            ),
            listens=(name,),
            output=directory.output(name),
        )
        for name in plan.scenario.device
    )


def server_command(plan: Plan, name: str) -> tuple[str, ...]:
    """The command of the device server of ``name``, without the socket that it listens at."""
    device = plan.scenario.device[name]
    return lean_command("passthru.emulation", device.model, "--options", json.dumps(device.options))


def assigned_devices(plan: Plan) -> dict[str, AssignedDevice]:
    """The devices as the checks know them, by id."""
    return {
        name: AssignedDevice(name, device.guest_address, device.model, device.options)
        for name, device in plan.scenario.device.items()
    }
