# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of changes to a machine: how each is done, how its state is seen, and how it is undone.

A step is a record of the journal: ``kind``, ``target``, the state ``before`` and the one that it makes, ``after``.
Undoing looks at the state first: what is not as the step left it is somebody else's by now and stays. What is done to a
device of another bus than PCI says so by ``bus``.
"""

from __future__ import annotations

import errno
import time

from passthru.worker.devices.modules import idle, loaded, normal, unload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from passthru.worker.devices.journal import Step
    from passthru.worker.devices.system import System

BUSES = "/sys/bus"
PCI = f"{BUSES}/pci/devices"
MDEV = "/sys/bus/mdev/devices"
MDEV_PARENTS = "/sys/class/mdev_bus"
NET = "/sys/class/net"

# A killed QEMU's last references to a VFIO group may be dropped a moment after its death is told.
_LET_GO_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.01


class StepError(Exception):
    """A step could not be done or undone: one sentence. ``errno`` is the kernel's, where there is one."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.errno = number


def describe(step: Step) -> str:
    """A step in words: "binding 0000:00:05.0 to vfio-pci"."""
    target, after = step["target"], step["after"]
    return {
        "unbind": f"unbinding {target} from {step['before']}",
        "driver_override": f"setting the driver_override of {target} to {after}",
        "bind": f"binding {target} to {after}",
        "objects": f"taking the objects of {target} along",
        "sriov_drivers_autoprobe": f"keeping drivers from the new virtual functions of {target}",
        "sriov_numvfs": f"making {after} virtual functions of {target}",
        "link": f"setting the network interface {target} {after}",
        "mdev-create": f"creating the mdev {target} of type {after} at {step.get('parent')}",
        "module-load": f"loading the module {target}",
        "module-reload": f"loading the module {target} anew with {step.get('parameter')}={after}",
        "parameter": f"setting {target} to {after}",
    }[step["kind"]]


def perform(system: System, step: Step) -> None:
    """Do a step. Raises StepError, which may leave it half done: undo it then."""
    try:
        _KINDS[step["kind"]][1](system, step)
    except OSError as error:
        said = error.strerror or str(error)
        raise StepError(f"{describe(step)} failed: {said}", error.errno or 0) from error


def revert(system: System, step: Step) -> str:
    """Undo a step if its state is the one that it left. Raises StepError.

    Returns "undone", "nothing" where it was never done or its target has gone, "kept" where somebody else changed it.
    """
    if step["kind"] in _OF_DEVICES and not system.exists(_device(step)):
        return "nothing"
    state, _, undo = _KINDS[step["kind"]]
    if (now := state(system, step)) != step["after"]:
        return "nothing" if now in (step["before"], None) else "kept"
    try:
        undo(system, step)
    except OSError as error:
        said = error.strerror or str(error)
        raise StepError(f"{describe(step)} could not be undone: {said}", error.errno or 0) from error
    return "undone"


def directory(bus: str, target: str) -> str:
    """The directory of a device in sysfs, as its bus has it."""
    return f"{BUSES}/{bus}/devices/{target}"


def _device(step: Step) -> str:
    return directory(step.get("bus", "pci"), step["target"])


def driver_of(system: System, target: str, bus: str = "pci") -> str | None:
    """The driver that a device is bound to."""
    return system.link(f"{directory(bus, target)}/driver")


def override_of(system: System, target: str, bus: str = "pci") -> str | None:
    """The driver_override of a device; the kernel shows "(null)" where there is none."""
    value = system.read(f"{directory(bus, target)}/driver_override")
    return None if value in (None, "", "(null)") else value


def wait_until_free(system: System, device: str) -> None:
    """Raises StepError where somebody has the VFIO device open: the kernel would let us wait for him without end.

    ``device`` is its directory in sysfs.
    """
    end = time.monotonic() + _LET_GO_SECONDS
    while path := open_path(system, device):
        if time.monotonic() > end:
            pids = ", ".join(map(str, system.holders(path)))
            who = f" by process {pids}" if pids else ""
            raise StepError(f"{device.rpartition('/')[2]} is still open{who} ({path}); end that process first")
        time.sleep(_LOOK_AGAIN_SECONDS)


def open_path(system: System, device: str) -> str | None:
    """The path under /dev/vfio by which somebody has a device (its directory in sysfs) open now, None if nobody has.

    Opening a group that is open, or has a device that is open by its own descriptor, is refused with EBUSY
    (vfio_group_fops_open in drivers/vfio/group.c). Kernels without groups have descriptors of devices only.
    """
    group = system.link(f"{device}/iommu_group")
    for path in (f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"):
        if group and system.exists(path):
            return path if system.claimed(path) else None
    cdev = cdev_of(system, device)
    return cdev if cdev and system.holders(cdev) else None


def cdev_of(system: System, device: str) -> str | None:
    """The /dev/vfio/devices/vfioN of a device (its directory in sysfs), None where the kernel has none."""
    for name in system.names(f"{device}/vfio-dev"):
        if system.exists(f"{device}/vfio-dev/{name}/dev"):
            return f"/dev/vfio/devices/{name}"
    return None


def _driver_now(system: System, step: Step) -> str | None:
    return driver_of(system, step["target"], step.get("bus", "pci"))


def _do_unbind(system: System, step: Step) -> None:
    system.write(f"{_device(step)}/driver/unbind", step["target"])


def _undo_unbind(system: System, step: Step) -> None:
    driver, target, bus = step["before"], step["target"], f"{BUSES}/{step.get('bus', 'pci')}"
    if not system.exists(f"{bus}/drivers/{driver}/bind"):
        raise OSError(
            errno.ENOENT,
            f"there is no driver {driver} any more; load its module, then `echo {target} > {bus}/drivers_probe`",
        )
    system.write(f"{bus}/drivers/{driver}/bind", target)
    if (now := _driver_now(system, step)) != driver:
        raise OSError(errno.EIO, f"its driver is {now or 'none'} although {driver} was asked for")


def _do_override(system: System, step: Step) -> None:
    system.write(f"{_device(step)}/driver_override", step["after"] or "\n")


def _undo_override(system: System, step: Step) -> None:
    system.write(f"{_device(step)}/driver_override", step["before"] or "\n")


def _do_bind(system: System, step: Step) -> None:
    target, driver, bus = step["target"], step["after"], step.get("bus", "pci")
    if bus == "pci":
        system.write(f"{BUSES}/pci/drivers_probe", target)
    else:
        # Asked itself, the driver says by its errno why it refuses; vfio-platform has several reasons.
        system.write(f"{BUSES}/{bus}/drivers/{driver}/bind", target)
    # The write succeeds where no driver took the device, and where another one had it first (drivers/base/bus.c).
    if (now := _driver_now(system, step)) != driver:
        raise OSError(
            errno.EIO,
            f"the kernel left it with {now or 'no driver'}; its log (dmesg) may say why {driver} refused it",
        )


def _undo_bind(system: System, step: Step) -> None:
    wait_until_free(system, _device(step))
    system.write(f"{_device(step)}/driver/unbind", step["target"])


def objects_of(system: System, container: str) -> dict[str, list[str | None]]:
    """The objects of a DPAA2 container that Linux shows, each with its driver and its driver_override.

    They are its children, and only there as long as the container has a driver (drivers/bus/fsl-mc/dprc-driver.c).
    """
    there = set(system.names(f"{BUSES}/fsl-mc/devices"))
    below = system.names(directory("fsl-mc", container))
    return {
        name: [driver_of(system, name, "fsl-mc"), override_of(system, name, "fsl-mc")]
        for name in below
        if name in there
    }


def _objects_now(system: System, step: Step) -> object:
    now = objects_of(system, step["target"])
    same = all(now[name] == was for name, was in step["before"].items() if name in now)
    return step["before"] if now and same else step["after"]


def _undo_objects(system: System, step: Step) -> None:
    """The kernel makes the objects anew with their container's driver, and forgets what a user had told it of them."""
    now = objects_of(system, step["target"])
    for name, (driver, override) in step["before"].items():
        if name not in now or now[name] == [driver, override]:
            continue
        if now[name][0] not in (None, driver):
            system.write(f"{directory('fsl-mc', name)}/driver/unbind", name)
        system.write(f"{directory('fsl-mc', name)}/driver_override", override or "\n")
        if driver not in (None, driver_of(system, name, "fsl-mc")):
            system.write(f"{BUSES}/fsl-mc/drivers/{driver}/bind", name)


def _attribute(name: str) -> Callable[[System, Step], object]:
    return lambda system, step: system.read(f"{_device(step)}/{name}")


def _writer(name: str, key: str) -> Callable[[System, Step], None]:
    return lambda system, step: system.write(f"{_device(step)}/{name}", step[key])


def _undo_numvfs(system: System, step: Step) -> None:
    device = f"{PCI}/{step['target']}"
    for name in system.names(device):
        # Taking away a function that somebody has open would wait for him.
        if name.startswith("virtfn") and (system.link(f"{device}/{name}/driver") or "").startswith("vfio"):
            wait_until_free(system, f"{PCI}/{system.link(f'{device}/{name}')}")
    system.write(f"{device}/sriov_numvfs", step["before"])


def link_of(system: System, interface: str) -> str | None:
    """Whether a network interface is set up or down (IFF_UP of its flags), None where there is none."""
    flags = system.read(f"{NET}/{interface}/flags")
    return None if flags is None else "up" if int(flags, 16) & 1 else "down"


def _set_link(system: System, interface: str, state: str) -> None:
    flags = int(system.read(f"{NET}/{interface}/flags") or "0", 16)
    system.write(f"{NET}/{interface}/flags", hex(flags | 1 if state == "up" else flags & ~1))


def mdev_type(system: System, uuid: str) -> str | None:
    """The type of an mdev that exists."""
    return system.link(f"{MDEV}/{uuid}/mdev_type")


def _do_mdev(system: System, step: Step) -> None:
    system.write(f"{MDEV_PARENTS}/{step['parent']}/mdev_supported_types/{step['after']}/create", step["target"])


def _undo_mdev(system: System, step: Step) -> None:
    wait_until_free(system, f"{MDEV}/{step['target']}")
    system.write(f"{MDEV}/{step['target']}/remove", "1")


def _module_state(system: System, step: Step) -> object:
    return "loaded" if any(loaded(system, name) for name in step["modules"]) else None


def _do_module(system: System, step: Step) -> None:
    system.load_module(step["target"], step["parameters"])
    if not loaded(system, normal(step["target"])):
        raise OSError(errno.EIO, "modprobe says that it is loaded, but /sys/module does not show it")


def _undo_module(system: System, step: Step) -> None:
    for name in reversed(step["modules"]):
        unload(system, name)


def _reloaded(system: System, step: Step) -> object:
    value = system.read(f"/sys/module/{normal(step['target'])}/parameters/{step['parameter']}")
    return step["before"] if value == step["before"] else step["after"]  # or it was unloaded, and not loaded again


def _reload(system: System, step: Step, value: str) -> None:
    name = normal(step["target"])
    unload(system, name)
    if loaded(system, name):
        raise OSError(errno.EBUSY, "somebody uses it")
    system.load_module(step["target"], {step["parameter"]: value})


def _undo_reload(system: System, step: Step) -> None:
    if not loaded(system, step["target"]) or idle(system, step["target"]):  # else it stays so for who has devices of it
        _reload(system, step, step["before"])


def _undo_parameter(system: System, step: Step) -> None:
    system.write(step["target"], step["before"])


_OF_DEVICES = ("objects", "unbind", "driver_override", "bind", "sriov_drivers_autoprobe", "sriov_numvfs")

# kind: state now, do, undo
_KINDS: dict[str, tuple[Callable[[System, Step], Any], Callable[[System, Step], None], Callable[[System, Step], None]]]
_KINDS = {
    "unbind": (_driver_now, _do_unbind, _undo_unbind),
    "driver_override": (
        lambda system, step: override_of(system, step["target"], step.get("bus", "pci")),
        _do_override,
        _undo_override,
    ),
    "bind": (_driver_now, _do_bind, _undo_bind),
    "objects": (_objects_now, lambda system, step: None, _undo_objects),
    "sriov_drivers_autoprobe": (
        _attribute("sriov_drivers_autoprobe"),
        _writer("sriov_drivers_autoprobe", "after"),
        _writer("sriov_drivers_autoprobe", "before"),
    ),
    "sriov_numvfs": (_attribute("sriov_numvfs"), _writer("sriov_numvfs", "after"), _undo_numvfs),
    "link": (
        lambda system, step: link_of(system, step["target"]),
        lambda system, step: _set_link(system, step["target"], step["after"]),
        lambda system, step: _set_link(system, step["target"], step["before"]),
    ),
    "mdev-create": (lambda system, step: mdev_type(system, step["target"]), _do_mdev, _undo_mdev),
    "module-load": (_module_state, _do_module, _undo_module),
    "module-reload": (_reloaded, lambda system, step: _reload(system, step, step["after"]), _undo_reload),
    "parameter": (
        lambda system, step: system.read(step["target"]),
        lambda system, step: system.write(step["target"], step["after"]),
        _undo_parameter,
    ),
}
