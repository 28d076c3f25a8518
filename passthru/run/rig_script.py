# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``qemu.sh`` of a run with a rig: it starts the rig with a shell, and shows the steps to take in there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.qemu.argv import QMP, SERIAL, guest_argv
from passthru.qemu.rig import CONSOLE
from passthru.qemu.script import qemu_sh
from passthru.run.assembly import machine, passed_through
from passthru.run.rig_devices import by_hand
from passthru.scenario.passed_through import FslMcDevice, MdevDevice, PciDevice, PlatformDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.qemu.argv import Device
    from passthru.run.plan import Plan
    from passthru.run.rig_plan import RigPlan

_UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1{:03}"
"""Like that of the kernel's document; of the same name in a run, one is made for each device."""


def rig_sh(plan: Plan, rig: RigPlan) -> str:
    """The script's text."""
    steps = ["qemu.sh: in the shell of the rig, which comes up here, the guest is started by:", *_steps(plan, rig)]
    what = "The rig of a run of passthru, with a shell"
    vm = rig.vm(shell=True)
    beside = (by_hand(rig.host, rig.host.seats),) if vm.ram else ()
    return qemu_sh(rig.emulator, rig.accelerator, vm, beside, what=what, terminal=CONSOLE, then=steps)


def _steps(plan: Plan, rig: RigPlan) -> Iterator[str]:
    """The shell commands that the worker's steps amount to, in a rig, and the guest's QEMU."""
    devices: list[Device] = []
    for number, (name, device) in enumerate(plan.scenario.passed_through.items(), 1):
        match device:
            case MdevDevice(parent=None):
                devices.append(passed_through(name, device, {"sysfsdev": f"/sys/bus/mdev/devices/{device.uuid}"}))
            case MdevDevice():
                uuid = device.uuid or _UUID.format(number)
                parent = f"/sys/class/mdev_bus/{device.parent}/mdev_supported_types/{device.type}"
                yield f"  echo {uuid} > {parent}/create"
                devices.append(passed_through(name, device, {"sysfsdev": f"/sys/bus/mdev/devices/{uuid}"}))
            case PciDevice():
                where = rig.addresses.get(device.hardware, device.host)
                found = f"dev{number}"
                yield "  modprobe vfio-pci"
                yield f"  {found}=$({_found_by(where)})"
                if device.vf is not None:
                    sysfs = f"/sys/bus/pci/devices/${found}"
                    yield f"  echo {device.vfs or device.vf + 1} > {sysfs}/sriov_numvfs"
                    yield f"  {found}=$(basename $(readlink {sysfs}/virtfn{device.vf}))"
                yield f"  echo vfio-pci > /sys/bus/pci/devices/${found}/driver_override"
                yield f"  echo ${found} > /sys/bus/pci/devices/${found}/driver/unbind"
                yield f"  echo ${found} > /sys/bus/pci/drivers_probe"
                devices.append(passed_through(name, device, {"host": f"${found}"}))
            case PlatformDevice() | FslMcDevice():
                driver, bus = f"vfio-{device.bus}", f"/sys/bus/{device.bus}"
                found = rig.addresses.get(device.host, device.host)
                yield f"  modprobe {driver}"
                yield f"  echo {driver} > {bus}/devices/{found}/driver_override"
                yield f"  echo {found} > {bus}/devices/{found}/driver/unbind"
                yield f"  echo {found} > {bus}/drivers/{driver}/bind"
                devices.append(passed_through(name, device, {"host": found}, driver))
    vm = machine(plan, lambda path: Path(rig.files[path]), devices)
    argv = guest_argv(plan.qemu, plan.accelerator, vm, _for_the_rigs_shell)
    words = [f"{name}={value}" for name, value in plan.qemu.env.items()] + list(argv)
    yield f"  {' '.join(map(_quoted, words))}"


def _found_by(where: str) -> str:
    """The shell command that prints the address of what is at ``where`` (see Assignment's addresses)."""
    first, *behind = where.split("/")
    if behind:
        path = "/".join(["/sys/bus/pci/devices/0000:" + first.removeprefix("0000:"), *(f"*:{step}" for step in behind)])
        return f"basename {path}"
    if first.count(":") == 1 and "." not in first:
        return f"lspci -Dn -d {first} | cut -d' ' -f1"
    return f"echo 0000:{first.removeprefix('0000:')}"


def _for_the_rigs_shell(name: str) -> str:
    if name == SERIAL:
        return f"stdio,id={name},mux=on"
    return f"null,id={name}" if name != QMP else f"socket,id={name},path=/tmp/{name},server=on,wait=off"


def _quoted(word: str) -> str:
    """Quoted for a shell, in which $devN is still replaced."""
    return f'"{word.replace(chr(34), chr(92) + chr(34))}"' if "$dev" in word else shlex.quote(word)
