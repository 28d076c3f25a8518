# SPDX-License-Identifier: GPL-2.0-or-later
"""The modules of the machine's kernel: which are there, which are loaded, and unloading what we loaded."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System


def normal(name: str) -> str:
    """The name as the kernel shows it: modprobe takes dashes too."""
    return name.replace("-", "_")


def loaded(system: System, name: str) -> bool:
    """Whether a module is loaded; one that is built into the kernel counts where it has a directory in /sys/module."""
    return system.exists(f"/sys/module/{normal(name)}")


def closure(system: System, name: str) -> list[str] | None:
    """The modules that ``modprobe name`` would load, in that order; [] where it is built in, None where there is none.

    From modules.dep, whose lines name a file and those that it needs, the last of them to be loaded first.
    """
    directory = f"/lib/modules/{system.release}"
    wanted = normal(name)
    for line in (system.read(f"{directory}/modules.dep") or "").splitlines():
        file, colon, needs = line.partition(":")
        if colon and _module(file) == wanted:
            return [*(_module(need) for need in reversed(needs.split())), wanted]
    built_in = (system.read(f"{directory}/modules.builtin") or "").splitlines()
    return [] if any(_module(file) == wanted for file in built_in) else None


def unload(system: System, name: str) -> None:
    """Unload a module that we loaded, unless it is in use or gone: then it stays. Raises OSError."""
    if not loaded(system, name) or _has_devices(system, name):
        return
    try:
        system.unload_module(normal(name))
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EBUSY, errno.ENOENT):
            raise


def idle(system: System, name: str) -> bool:
    """Whether a module that is loaded, and not built in, has no device: it can be loaded anew."""
    return system.exists(f"/sys/module/{normal(name)}/initstate") and not _has_devices(system, normal(name))


def _has_devices(system: System, name: str) -> bool:
    """Whether a device is bound to a driver of the module: its reference count does not tell, and unloading unbinds."""
    for driver in system.names(f"/sys/module/{name}/drivers"):
        entries = system.names(f"/sys/module/{name}/drivers/{driver}")
        if any(
            entry != "module" and system.target(f"/sys/module/{name}/drivers/{driver}/{entry}") for entry in entries
        ):
            return True
    return False


def _module(path: str) -> str:
    """The name of a module by its file: "kernel/drivers/vfio/pci/vfio-pci.ko.xz" is vfio_pci."""
    return normal(path.rpartition("/")[2].partition(".ko")[0])
