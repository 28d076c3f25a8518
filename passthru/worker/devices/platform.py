# SPDX-License-Identifier: GPL-2.0-or-later
"""Platform and AMBA devices of the host: found by what the user calls them, and what the device tree says of them.

A node of the device tree is on one bus: with "arm,primecell" in ``compatible`` on amba, else on platform.
"""

from __future__ import annotations

from passthru.worker.devices.buses import AMBA, DRIVERS, PLATFORM
from passthru.worker.devices.modules import idle, loaded, normal
from passthru.worker.devices.steps import BUSES, directory
from passthru.worker.devices.trouble import mistake, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.system import System
    from passthru.worker.devices.trouble import Blocked

_TREE = "/sys/firmware/devicetree/base"
_MOST_LISTED = 12

# "vfio/platform: use the new device life cycle helpers" (6.1) refuses also who needs no reset, until "ignore missing
# reset if disabled at module init" (168a9c91fe0a, 6.3).
_NEEDS_RESET_FROM, _NEEDS_RESET_UNTIL = (6, 1), (6, 3)
RESET_REQUIRED = "/sys/module/vfio_platform/parameters/reset_required"
_BASE_HOLDERS = "/sys/module/vfio_platform_base/holders"


def choose(system: System, bus: str, host: str) -> str:
    """The name on ``bus`` of the device that ``host`` means. Raises Blocked.

    Its name there ("9010000.pl031"), the path of its node in the device tree ("/pl031@9010000"), or one of its
    ``compatible`` strings, which one device of the bus only must have.
    """
    there = system.names(f"{BUSES}/{bus}/devices")
    if host in there:
        return host
    if host.startswith("/"):
        found = [name for name in there if node_of(system, bus, name) == host.rstrip("/")]
    else:
        found = [name for name in there if host in compatible(system, bus, name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise mistake(
            f"{len(found)} devices of the bus {bus} are {host}: {', '.join(found)}", "choose one of them by its name"
        )
    other = AMBA if bus == PLATFORM else PLATFORM
    if host in system.names(f"{BUSES}/{other}/devices"):
        raise mistake(f"{host} is a device of the bus {other}, not of {bus}", f'say bus = "{other}"')
    raise mistake(f"there is no device {host!r} on the bus {bus} of this host", _listed(system, bus, there))


def _listed(system: System, bus: str, there: list[str]) -> str:
    """Those that can be meant: behind an IOMMU, or else all; some of them."""
    behind = [name for name in there if is_behind_an_iommu(system, bus, name)]
    names = behind or there
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    what = "behind an IOMMU it has" if behind else "it has, none of them behind an IOMMU,"
    return f"{what} {', '.join(names[:_MOST_LISTED])}{more}" if names else "that bus has no devices"


def is_behind_an_iommu(system: System, bus: str, name: str) -> bool:
    """Whether an IOMMU translates for a device, or is to by the device tree as soon as a driver is tried on it."""
    device = directory(bus, name)
    return system.link(f"{device}/iommu_group") is not None or system.exists(f"{device}/of_node/iommus")


def node_of(system: System, bus: str, name: str) -> str | None:
    """The path of a device's node in the device tree, None where it has none."""
    target = system.target(f"{directory(bus, name)}/of_node")
    return None if target is None else "/" + target.partition("/devicetree/base/")[2]


def compatible(system: System, bus: str, name: str) -> list[str]:
    """What the device tree says that a device is, the most exact first."""
    return [text for text in (system.read(f"{directory(bus, name)}/of_node/compatible") or "").split("\0") if text]


def is_the_console(system: System, bus: str, name: str) -> bool:
    """Whether the firmware calls a device the console (``stdout-path``), which the kernel's first messages go to."""
    named = (system.read(f"{_TREE}/chosen/stdout-path") or "").rstrip("\0").partition(":")[0]
    if named and not named.startswith("/"):
        named = (system.read(f"{_TREE}/aliases/{named}") or "").rstrip("\0")
    return bool(named) and named == node_of(system, bus, name)


def reset_trouble(system: System, bus: str, name: str, required: bool) -> Iterator[Blocked]:
    """vfio-platform takes no device that it cannot reset, unless the module is told to (``reset_required=0``).

    vfio-amba takes any, but for the kernels that lost that. Source: drivers/vfio/platform/vfio_platform_common.c
    (vfio_platform_get_reset), vfio_amba.c. What ACPI resets is not judged.
    """
    kinds = compatible(system, bus, name)
    if not kinds or has_reset_driver(system, kinds[0]):
        return
    lacking = f"the host's kernel {system.release} has no reset driver for {name} ({kinds[0]})"
    stub = 'load vfio-reset-stub, which is one for every device (in a rig: host.modules = ["vfio-reset-stub"])'
    if _NEEDS_RESET_FROM <= system.version < _NEEDS_RESET_UNTIL:
        yield unusable(f"{lacking}, and before Linux 6.3 {DRIVERS[bus]} takes no device without one", stub)
    elif bus == PLATFORM and (is_set := system.read(RESET_REQUIRED)) != "N":
        if required:
            yield unusable(
                f"{lacking}, and vfio-platform takes no device without one", f"reset_required = false, or {stub}"
            )
        elif is_set == "Y" and not idle(system, "vfio_platform"):
            yield unusable(
                f"{lacking}, and vfio-platform is in use, or built in, with reset_required=1",
                f"release its devices, or put vfio_platform.reset_required=0 on the kernel's command line, or {stub}",
            )


def has_reset_driver(system: System, kind: str) -> bool:
    """Whether a module with the reset of a kind of device is there; a loaded one is believed to be for all.

    A reset driver uses vfio-platform-base, and modprobe finds it by the alias "vfio-reset:COMPATIBLE".
    """
    if loaded(system, "vfio_reset_stub"):
        return True
    ours = [normal(driver) for driver in DRIVERS.values()]
    if any(name not in ours for name in system.names(_BASE_HOLDERS)):
        return True
    aliases = system.read(f"/lib/modules/{system.release}/modules.alias") or ""
    return f"alias vfio-reset:{kind} " in aliases


def interrupts_trouble(system: System, bus: str, name: str) -> Iterator[Blocked]:
    """Without an MSI domain that is isolated, VFIO's container refuses the IOMMU of a device (EPERM).

    Source: msi_device_has_isolated_msi, which each device is asked by from Linux 6.2 on (6.1 looks at the machine as a
    whole). of_platform_device_create_pdata gives a platform device the domain of its msi-parent; nothing gives an AMBA
    device any.
    """
    node = f"{directory(bus, name)}/of_node"
    if system.version < (6, 2) or not system.exists(node):
        return
    accept = (
        "accept that where the guest is trusted: host.unsafe_interrupts = true, or"
        " vfio_iommu_type1.allow_unsafe_interrupts=1 on the kernel's command line"
    )
    if bus == AMBA:
        yield unusable(
            f"{name} is an AMBA device, of which no kernel from Linux 6.2 on knows whether its interrupts are isolated,"
            " and VFIO takes no such device",
            accept,
        )
    elif not system.exists(f"{node}/msi-parent"):
        yield unusable(
            f"{name} has no msi-parent in the device tree, so nothing says that its interrupts are isolated, and VFIO"
            " takes no such device",
            f"add msi-parent = <&its ID> to its node, or {accept}",
        )
