# SPDX-License-Identifier: GPL-2.0-or-later
"""From a plan to QEMU with its guest, as the worker starts it. Nothing is started here."""

from __future__ import annotations

from pathlib import Path
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
    vfio_on_chip,
    vfio_pci,
    vfio_user,
)
from passthru.qemu.boards import guest_machine
from passthru.run import guest_container
from passthru.run.companions import socket_of
from passthru.scenario.models import ServedDevice
from passthru.scenario.passed_through import FslMcDevice, PassedThrough, PciDevice, PlatformDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from passthru.host.devices import Prepared
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.argv import Device
    from passthru.qemu.binary import Qemu
    from passthru.qemu.guest_platform import Place
    from passthru.run.directory import RunDirectory
    from passthru.run.guest_tree import GuestTree
    from passthru.run.hosts import HostPlan, HostUp
    from passthru.run.plan import Plan
    from passthru.scenario.models import DeviceSpec

QEMU = "qemu"

VFIO_PCI = "vfio-pci"


def machine_on(up: HostUp, plan: Plan) -> Vm:
    """The guest's machine with its devices, on a host that is up."""
    devices = (
        _device(name, device, up.prepared) for name, device in plan.scenario.device.items() if name != plan.bridged
    )
    return machine(plan, lambda path: Path(up.host.path_of(path)), devices)


def served_devices(plan: Plan) -> Iterator[Device]:
    """The devices that a process serves."""
    return (_device(name, device, {}) for name, device in plan.scenario.served.items())


def machine(plan: Plan, place: Callable[[Path], Path], devices: Iterable[Device]) -> Vm:
    """The guest's machine with ``devices``; ``place`` says where a file of this machine is on its host."""
    guest = plan.scenario.guest
    return Vm(
        kernel=place(plan.kernel.image),
        initrd=place(plan.image.path),
        cmdline=command_line(*plan.accelerator.kernel_words, *guest.cmdline.split(), arch=plan.qemu.arch),
        machine=guest_machine(guest.machine),
        memory_mib=guest.memory,
        cpus=guest.cpus,
        devices=tuple(devices),
        arch=plan.qemu.arch,
        extra=(*(guest_container.qemu_arguments() if plan.bridged else ()), *guest.qemu_args),
        tree=place(plan.tree.path) if plan.tree else None,
        ram=f"{{socket:{guest_container.RAM}}}" if plan.bridged else "",
    )


def _device(name: str, device: DeviceSpec, prepared: Mapping[str, Prepared]) -> Device:
    if isinstance(device, ServedDevice):
        return vfio_user(name, socket_of(name, device), slot=device.address, properties=device.properties)
    if not isinstance(device, PassedThrough):
        raise TypeError(f"QEMU knows no device of the bus {device.bus}")
    return passed_through(name, device, prepared[name].qemu, prepared[name].qemu_device)


def passed_through(name: str, device: PassedThrough, where: Mapping[str, str], kind: str = VFIO_PCI) -> Device:
    """A device of the host's kernel; ``where`` are the properties by which QEMU's ``kind`` of device takes it."""
    iommufd = device.container == "iommufd"
    if kind == VFIO_PCI:
        return vfio_pci(name, **where, slot=device.address, iommufd=iommufd, properties=device.properties)
    return vfio_on_chip(kind, name, **where, iommufd=iommufd, properties=device.properties)


def qemu_child(plan: Plan, up: HostUp, directory: RunDirectory, arguments: Sequence[str] = ()) -> ChildSpec:
    """QEMU with the guest, on a host that is up; ``arguments`` are further ones, for a person who looks on."""
    vm = machine_on(up, plan)
    return vm_child(QEMU, plan.qemu, plan.accelerator, vm, directory.output(QEMU), arguments)


def vm_child(
    name: str, qemu: Qemu, accelerator: Accelerator, vm: Vm, output: Path, arguments: Sequence[str] = ()
) -> ChildSpec:
    """``qemu`` with a VM, as a child of a worker; its serial line is a pair of pipes where it takes them."""
    pipes = (SERIAL,) if takes_pipes(qemu) else ()

    def chardev(name: str) -> str:
        return by_pipes(name) if name in pipes else by_descriptor(name)

    return ChildSpec(
        name=name,
        argv=(*guest_argv(qemu, accelerator, vm, chardev), *arguments),
        env=qemu.env,
        streams=tuple(name for name in streams(vm) if name not in pipes),
        pipes=pipes,
        output=output,
    )


def assigned_devices(plan: HostPlan, up: HostUp, tree: GuestTree | None = None) -> dict[str, AssignedDevice]:
    """The devices as the checks know them, by id; ``tree`` is the guest's, if it has one of ours."""
    places = tree.places if tree else {}
    return {
        name: AssignedDevice(
            name,
            _in_guest(name, device, places),
            device.model,
            device.options,
            hardware=_hardware(device, plan),
            host=up.facts.get(name, {}),
        )
        for name, device in plan.scenario.device.items()
    }


def _in_guest(name: str, device: DeviceSpec, places: Mapping[str, Place]) -> str:
    """Where the guest finds the device; a container keeps its name."""
    if isinstance(device, FslMcDevice):
        return device.host
    return places[name].address if name in places else device.guest_address


def _hardware(device: DeviceSpec, plan: HostPlan) -> str:
    """The name of the rig's hardware that the device is; empty where it is none."""
    if isinstance(device, PciDevice):
        return device.hardware
    if isinstance(device, PlatformDevice) and plan.rig is not None and device.host in plan.rig.host.hardware:
        return device.host
    return ""
