# SPDX-License-Identifier: GPL-2.0-or-later
"""From a plan to QEMU with its guest, as the worker starts it. Nothing is started here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.check.context import AssignedDevice
from passthru.host import ChildSpec
from passthru.qemu.argv import (
    SERIAL,
    Vm,
    by_descriptor,
    by_pipes,
    command_line,
    guest_argv,
    streams,
    takes_pipes,
    vfio_user,
)
from passthru.run.companions import socket_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        cmdline=command_line(*plan.accelerator.kernel_words, *guest.cmdline.split()),
        machine=guest.machine,
        memory_mib=guest.memory,
        cpus=guest.cpus,
        devices=tuple(
            vfio_user(name, socket_of(name, device), slot=device.address, properties=device.properties)
            for name, device in devices
        ),
        extra=guest.qemu_args,
    )


def qemu_child(plan: Plan, directory: RunDirectory, arguments: Sequence[str] = ()) -> ChildSpec:
    """QEMU with the guest; ``arguments`` are further ones, for a person who looks on."""
    vm = machine(plan)
    pipes = (SERIAL,) if takes_pipes(plan.qemu) else ()

    def chardev(name: str) -> str:
        return by_pipes(name) if name in pipes else by_descriptor(name)

    return ChildSpec(
        name=QEMU,
        argv=(*guest_argv(plan.qemu, plan.accelerator, vm, chardev), *arguments),
        env=plan.qemu.env,
        streams=tuple(name for name in streams(vm) if name not in pipes),
        pipes=pipes,
        output=directory.output(QEMU),
    )


def assigned_devices(plan: Plan) -> dict[str, AssignedDevice]:
    """The devices as the checks know them, by id."""
    return {
        name: AssignedDevice(name, device.guest_address, device.model, device.options)
        for name, device in plan.scenario.device.items()
    }
