# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``qemu.sh`` of a run with a rig: it starts the rig with a shell, and shows the steps to take in there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.host.python import run_module
from passthru.image.rig import CODE_HOME, PYTHON
from passthru.qemu import guest_fsl_mc
from passthru.qemu.argv import QMP, SERIAL, guest_argv
from passthru.qemu.guest_platform import DRIVER as PLATFORM_DRIVER
from passthru.qemu.rig import CONSOLE
from passthru.qemu.script import qemu_sh
from passthru.run import guest_container
from passthru.run.assembly import VFIO_PCI, machine, passed_through
from passthru.run.guest_tree import on_platform
from passthru.run.host_plan import HostSide
from passthru.run.rig_devices import by_hand
from passthru.scenario.passed_through import FslMcDevice, MdevDevice, OnChipDevice, PciDevice, PlatformDevice
from passthru.worker.devices.iommu import module_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from passthru.qemu.argv import Device
    from passthru.run.plan import Plan
    from passthru.run.rig_plan import RigPlan

_UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1{:03}"
"""Like that of the kernel's document; of the same name in a run, one is made for each device."""


_LONGEST = 500
"""Characters of a line: busybox's editor takes 1024, with its prompt, and drops the rest without a word."""


def rig_sh(plan: Plan | HostSide, rig: RigPlan) -> str:
    """The script's text."""
    what_follows = "the devices are prepared by:" if isinstance(plan, HostSide) else "the guest is started by:"
    steps = [f"qemu.sh: in the shell of the rig, which comes up here, {what_follows}", *_steps(plan, rig)]
    what = "The rig of a run of passthru, with a shell"
    vm = rig.vm(shell=True)
    beside = (by_hand(rig.host, rig.host.seats),) if vm.ram else ()
    return qemu_sh(rig.emulator, rig.accelerator, vm, beside, what=what, terminal=CONSOLE, then=steps)


def _steps(plan: Plan | HostSide, rig: RigPlan) -> Iterator[str]:
    """The shell commands that the worker's steps amount to, in a rig, and the guest's QEMU, if there is one."""
    devices: list[Device] = []
    # QEMU opens the container at once: what the kernel would load for that by itself may come too late, or not.
    modules = {module_of(device.container): None for device in plan.scenario.passed_through.values()}
    yield from (f"  modprobe {module}" for module in modules)
    for number, (name, device) in enumerate(plan.scenario.passed_through.items(), 1):
        match device:
            case MdevDevice(parent=None):
                devices.append(_mdev(name, device, device.uuid or ""))
            case MdevDevice():
                uuid = device.uuid or _UUID.format(number)
                parent = f"/sys/class/mdev_bus/{device.parent}/mdev_supported_types/{device.type}"
                yield f"  echo {uuid} > {parent}/create"
                devices.append(_mdev(name, device, uuid))
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
            case OnChipDevice() | FslMcDevice():
                driver, bus = f"vfio-{device.bus}", f"/sys/bus/{device.bus}"
                found = rig.addresses.get(device.host, device.host)
                unresettable = isinstance(device, PlatformDevice) and not device.reset_required
                yield f"  modprobe {driver}{' reset_required=0' * unresettable}"
                yield f"  echo {driver} > {bus}/devices/{found}/driver_override"
                unbind = f"{bus}/devices/{found}/driver/unbind"
                yield f"  [ ! -e {unbind} ] || echo {found} > {unbind}"
                yield f"  echo {found} > {bus}/drivers/{driver}/bind"
                if not isinstance(plan, HostSide) and name == plan.bridged:
                    yield f"  group=$(basename $(readlink {bus}/devices/{found}/iommu_group))"
                    yield f"  {_bridge(found, plan)} &"
                elif plan.scenario.has_guest:
                    devices.append(passed_through(name, device, {"host": found}, driver))
    if isinstance(plan, HostSide):
        return
    vm = machine(plan, lambda path: Path(rig.files[path]), devices)
    argv = guest_argv(plan.qemu, plan.accelerator, vm, _for_the_rigs_shell)
    words = [f"{name}={value}" for name, value in plan.qemu.env.items()] + list(argv)
    yield from _wrapped(map(_quoted, map(_in_place, words)))


def _bridge(container: str, plan: Plan) -> str:
    """What holds a container beside QEMU; its group is in the shell's variable."""
    told = guest_container.settings(container, "$group", plan.scenario.guest)
    words = run_module((PYTHON,), CODE_HOME, guest_fsl_mc.MODULE, _in_place(told))
    return " ".join(map(_quoted, words))


def _wrapped(words: Iterable[str]) -> Iterator[str]:
    """One command in lines that the rig's shell takes from a terminal."""
    line = " "
    for word in words:
        if len(line) + len(word) > _LONGEST and line.strip():
            yield f"{line} \\"
            line = "   "
        line += f" {word}"
    yield line


def _in_place(word: str) -> str:
    """With paths for the sockets that the worker would make."""
    for name in (guest_container.RAM, guest_container.QTEST):
        word = word.replace(f"{{socket:{name}}}", f"/tmp/{name}")
    return word


def _mdev(name: str, device: MdevDevice, uuid: str) -> Device:
    kind = PLATFORM_DRIVER if on_platform(device) else VFIO_PCI
    return passed_through(name, device, {"sysfsdev": f"/sys/bus/mdev/devices/{uuid}"}, kind)


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
    """Quoted for a shell, in which $devN and $group are still replaced."""
    replaced = "$dev" in word or "$group" in word
    return f'"{word.replace(chr(34), chr(92) + chr(34))}"' if replaced else shlex.quote(word)
