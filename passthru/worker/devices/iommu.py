# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host needs so that any device of it can be assigned: an IOMMU, VFIO's modules, containers, locked memory."""

from __future__ import annotations

import os

from passthru.worker.devices.buses import DRIVERS
from passthru.worker.devices.modules import closure, loaded
from passthru.worker.devices.trouble import Blocked, missing, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.system import System

TYPE1, TYPE1V2, NOIOMMU, IOMMUFD = "type1", "type1v2", "noiommu", "iommufd"
CONTAINERS = (TYPE1, TYPE1V2, NOIOMMU, IOMMUFD)
_TABLES = "/sys/firmware/acpi/tables"
_CAP_IPC_LOCK = 14  # <linux/capability.h>
VFIOS_OWN = "vfio-noiommu"
"""The name of an IOMMU group that VFIO made for a device without an IOMMU (vfio_noiommu_group_alloc)."""
_UNSAFE = "allow_unsafe_interrupts"


_HOW_TO_GET = {
    "": "install the kernel's modules (in a rig: name a kernel that has them), or build it with CONFIG_VFIO,"
    " CONFIG_VFIO_PCI and CONFIG_VFIO_IOMMU_TYPE1",
    "vfio-platform": "build it with CONFIG_VFIO_PLATFORM, which Debian's kernels are not, or that module for it from"
    ' drivers/vfio/platform of its source (in a rig: host.modules = ["vfio-platform"])',
    "vfio-amba": "build it with CONFIG_VFIO_AMBA, which Debian's kernels are not, or that module for it from"
    ' drivers/vfio/platform of its source (in a rig: host.modules = ["vfio-amba"])',
    "vfio-fsl-mc": "install the kernel's modules, or build it with CONFIG_VFIO_FSL_MC (Debian's for arm64 is)",
}


def needed_modules(bus: str, container: str) -> list[str]:
    """The modules that an assignment needs, in the order to load them."""
    return [module_of(container), *([DRIVERS[bus]] if bus in DRIVERS else [])]


def module_of(container: str) -> str:
    """The module that makes containers of this kind."""
    return {IOMMUFD: "iommufd", NOIOMMU: "vfio"}.get(container, "vfio_iommu_type1")


def module_trouble(system: System, names: list[str]) -> Iterator[Blocked]:
    """Modules that are neither there nor can be loaded."""
    for name in names:
        if loaded(system, name) or _registered(system, name) or closure(system, name) is not None:
            continue
        if name == "iommufd":
            yield missing(
                IOMMUFD,
                f"the host's kernel {system.release} has no iommufd (CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV)",
                'take container = "type1", or in a rig host.kernel = "own"',
            )
        else:
            yield unusable(
                f"the host's kernel {system.release} has no module {name}, nor is it built in",
                _HOW_TO_GET.get(name, _HOW_TO_GET[""]),
            )


def _registered(system: System, name: str) -> bool:
    """Built in and without parameters, a module has no directory in /sys/module; its driver shows all the same."""
    if (bus := next((bus for bus, driver in DRIVERS.items() if driver == name), None)) is not None:
        return system.exists(f"/sys/bus/{bus}/drivers/{name}")
    return name == "iommufd" and system.exists("/dev/iommu")


def present(system: System, name: str) -> bool:
    """Whether a module needs no loading: loaded, or built in."""
    return loaded(system, name) or _registered(system, name)


def iommu_trouble(system: System, kind: str) -> Iterator[Blocked]:
    """No IOMMU translates for any device: none there, or the kernel does not use it."""
    if system.names("/sys/class/iommu") or _has_groups(system):
        return
    tables = system.names(_TABLES)
    words = (system.read("/proc/cmdline") or "").split()
    if "DMAR" in tables:
        why = "intel_iommu=off is in" if "intel_iommu=off" in words else "intel_iommu=on is not in"
        yield unusable(
            f"the host's kernel does not use its Intel IOMMU: {why} its command line",
            'add intel_iommu=on to it (in a rig host.iommu = "intel" does)',
        )
    elif "IVRS" in tables:
        off = next((word for word in words if word in ("amd_iommu=off", "iommu=off")), None)
        yield unusable(
            "the host's kernel does not use its AMD IOMMU" + (f": {off} is in its command line" if off else ""),
            "remove that word" if off else "take a kernel with CONFIG_AMD_IOMMU (Debian's cloud kernels have none)",
        )
    elif "VIOT" in tables:
        yield unusable(
            "the host's kernel does not use its virtio IOMMU",
            "`modprobe virtio_iommu`, or take a kernel with CONFIG_VIRTIO_IOMMU (Debian: 6.12 or newer)",
        )
    elif kind == "rig":
        of_arm = system.exists("/sys/firmware/devicetree/base")
        which = '"smmuv3" or "ram-smmuv2"' if of_arm else '"intel", "amd" or "virtio"'
        yield unusable("the rig has no IOMMU", f"say host.iommu = {which}")
    else:
        yield unusable(
            "this host has no IOMMU, or its firmware hides it",
            'turn on VT-d or AMD-Vi in the firmware\'s setup, or use a rig (host.kind = "rig")',
        )


def _has_groups(system: System) -> bool:
    # A parent of mdevs makes groups too, which no IOMMU stands behind, and so does VFIO for a device that has none;
    # those of devices hold PCI or platform devices.
    return any(
        system.read(f"/sys/kernel/iommu_groups/{group}/name") != VFIOS_OWN
        and system.link(f"/sys/kernel/iommu_groups/{group}/devices/{name}")
        and not system.exists(f"/sys/bus/mdev/devices/{name}")
        for group in system.names("/sys/kernel/iommu_groups")
        for name in system.names(f"/sys/kernel/iommu_groups/{group}/devices")[:1]
    )


def container_trouble(system: System, container: str) -> Iterator[Blocked]:
    """The container is not there, or this process may not open it."""
    path = "/dev/iommu" if container == IOMMUFD else "/dev/vfio/vfio"
    if not system.exists(path):
        # The device of a module that is yet to be loaded comes with it; vfio brings /dev/vfio/vfio.
        if container == IOMMUFD and present(system, "iommufd"):
            yield missing(
                IOMMUFD, "the host's kernel has iommufd, but there is no /dev/iommu", "see whether /dev is devtmpfs"
            )
        return
    if not system.may(path, os.R_OK | os.W_OK):
        yield unusable(
            f"this user may not read and write {path}",
            f"as root: chmod 0666 {path} (it opens no device by itself), or run passthru as root",
        )


def interrupts_trouble(system: System, container: str, allowed: bool) -> Iterator[Blocked]:
    """Interrupts of devices are not remapped, so that a guest could send any to the host: VFIO refuses that."""
    if remapped(system) is not False or interrupts_allowed(system, container, allowed):
        return
    module = _behind(container)
    yield unusable(
        "this host's IOMMU does not remap interrupts, so a guest with a device could send the host any interrupt",
        'take an IOMMU that does (a rig: host.iommu = "intel" or "amd"), or accept that where the guest is trusted:'
        f" host.unsafe_interrupts = true, or {module}.{_UNSAFE}=1 on the kernel's command line",
    )


def interrupts_allowed(system: System, container: str, allowed: bool) -> bool:
    """Whether VFIO may take interrupts that nothing isolates: by the assignment, or by its module's parameter."""
    return allowed or system.read(f"/sys/module/{_behind(container)}/parameters/{_UNSAFE}") == "Y"


def _behind(container: str) -> str:
    return "iommufd" if container == IOMMUFD else "vfio_iommu_type1"


def needs_cdev(container: str, cdev: str | None, name: str) -> None:
    """QEMU reaches a device by iommufd through its own descriptor, which some kernels do not have. Raises Blocked."""
    if container == IOMMUFD and cdev is None:
        raise missing(
            IOMMUFD,
            f"the host's kernel has iommufd, but no /dev/vfio/devices/* for {name} (CONFIG_VFIO_DEVICE_CDEV)",
            'take container = "type1", or in a rig host.kernel = "own"',
        )


def remapped(system: System) -> bool | None:
    """Whether interrupts of devices go through the IOMMU; None where that cannot be seen, or it is no x86.

    /proc/interrupts names the chips: "IR-IO-APIC", "IR-PCI-MSI" with remapping, "IO-APIC", "PCI-MSI" without it.
    """
    text = system.read("/proc/interrupts") or ""
    if "IO-APIC" not in text and (" PCI-MSI" not in text or "GIC" in text):
        return None
    return " IR-" in text


def memlock_trouble(system: System, memory: int) -> Iterator[Blocked]:
    """The guest's memory, which stays where the device's DMA finds it, is more than this process may lock."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    # The soft limit is raised when the device is prepared; the hard one is not ours to raise.
    if hard == resource.RLIM_INFINITY or hard >= memory or can_lock(system):
        return
    wanted = (memory >> 10) + (1 << 20)
    yield unusable(
        f"the guest's {memory >> 20} MiB are to be locked for DMA, but this process may lock {hard >> 10} KiB"
        f" (RLIMIT_MEMLOCK{'' if soft == hard else ', its hard limit'})",
        f"`ulimit -l {wanted}` as root before passthru, a line for this user in /etc/security/limits.d"
        f' ("USER - memlock {wanted}"), or run as root',
    )


def raise_memlock() -> None:
    """Raise the soft limit of locked memory to the hard one, for children that map DMA."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def can_lock(system: System) -> bool:
    """Whether this process has CAP_IPC_LOCK, by which no limit counts."""
    return capable(system, _CAP_IPC_LOCK)


def capable(system: System, capability: int) -> bool:
    """Whether this process has a capability, by its number in <linux/capability.h>."""
    for line in (system.read("/proc/self/status") or "").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False
