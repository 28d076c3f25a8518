# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI devices of the host: found by what the user calls them, with what moves together with them."""

from __future__ import annotations

import re

from passthru.worker.devices.steps import PCI, driver_of
from passthru.worker.devices.trouble import Blocked, mistake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System

_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")
_FUNCTION = re.compile(r"([01][0-9a-f])\.([0-7])")
_KIND = re.compile(r"([0-9a-f]{4}):([0-9a-f]{4})")

# Drivers that let somebody else have the DMA of their group (driver_managed_dma in the kernel): the ports of PCI
# Express, the stub, and what belongs to VFIO.
_LEAVES_DMA = ("pcieport", "pci-stub")
VFIO_PCI = "vfio-pci"


def choose(system: System, host: str) -> str:
    """The address, in full, of the device that ``host`` means. Raises Blocked.

    An address ("0000:00:05.0", "00:05.0"), a path through bridges ("00:04.0/00.0": the function 00.0 on the bus behind
    the bridge 00:04.0), or "vendor:device" in hexadecimal, which one device only must have.
    """
    text = host.strip().lower()
    if match := _KIND.fullmatch(text):
        return _by_kind(system, *match.groups())
    first, *rest = text.split("/")
    address = full_address(first)
    if address is None or not all(_FUNCTION.fullmatch(part) for part in rest):
        raise mistake(
            f"{host!r} names no PCI device",
            'write an address ("00:05.0"), a path through bridges ("00:04.0/00.0") or vendor:device ("1234:11e8")',
        )
    _must_exist(system, address, host)
    for part in rest:
        behind = [name for name in system.names(f"{PCI}/{address}") if full_address(name) == name]
        bus = secondary_bus(system, address)
        found = [name for name in behind if name.endswith(f":{part}") and (bus is None or bus == name.split(":")[1])]
        if not found:
            there = ", ".join(behind) or "nothing"
            raise mistake(f"there is no device {part} behind {address} ({host})", f"behind it is {there}")
        address = found[0]
    return address


def full_address(text: str) -> str | None:
    """An address with its domain, None for what is no address."""
    match = _ADDRESS.fullmatch(text)
    return None if match is None else f"{match[1] or '0000'}:{match[2]}:{match[3]}.{match[4]}"


def secondary_bus(system: System, address: str) -> str | None:
    """The number of the bus behind a bridge, two hexadecimal digits; None for what is no bridge."""
    text = system.read(f"{PCI}/{address}/secondary_bus_number")
    return f"{int(text):02x}" if text and text.isdecimal() and int(text) else None


def identity(system: System, address: str) -> str:
    """What "vendor:device" would be, four digits each."""
    return ":".join((system.read(f"{PCI}/{address}/{name}") or "").removeprefix("0x") for name in ("vendor", "device"))


def class_of(system: System, address: str) -> str:
    """Base class and subclass, four digits: "0604" is a bridge to another PCI bus."""
    return (system.read(f"{PCI}/{address}/class") or "").removeprefix("0x")[:4]


def group_of(system: System, address: str) -> str | None:
    """The number of its IOMMU group; None where no IOMMU translates for it."""
    return system.link(f"{PCI}/{address}/iommu_group")


def members(system: System, group: str) -> list[str]:
    """The devices of an IOMMU group, which are given away together."""
    return system.names(f"/sys/kernel/iommu_groups/{group}/devices")


def leaves_dma(driver: str | None) -> bool:
    """Whether a group stays viable with a device on this driver (iommu_group_claim_dma_owner in drivers/iommu)."""
    return driver is None or driver in _LEAVES_DMA or driver.startswith("vfio") or driver.endswith("-vfio-pci")


def moves(system: System, chosen: str, group: str) -> list[tuple[str, str | None, str | None]]:
    """What has to change in a group so that ``chosen`` can be assigned: (address, driver now, driver then).

    Bridges are never bound to vfio-pci; those with a driver that claims DMA (shpchp) are without one meanwhile.
    """
    changes: list[tuple[str, str | None, str | None]] = []
    for address in members(system, group):
        driver = driver_of(system, address)
        if address != chosen and class_of(system, address).startswith("06"):
            if not leaves_dma(driver):
                changes.append((address, driver, None))
        elif driver is None or not (driver.startswith("vfio") or driver.endswith("-vfio-pci")):
            changes.append((address, driver, VFIO_PCI))
    return changes


def physical_function(system: System, address: str) -> str | None:
    """The physical function of a virtual one."""
    return system.link(f"{PCI}/{address}/physfn")


def describe(system: System, address: str) -> str:
    """A device in words: "0000:00:05.0 (1234:11e8)"."""
    return f"{address} ({identity(system, address)})"


def _by_kind(system: System, vendor: str, device: str) -> str:
    found = [
        name
        for name in system.names(PCI)
        if system.read(f"{PCI}/{name}/vendor") == f"0x{vendor}" and system.read(f"{PCI}/{name}/device") == f"0x{device}"
    ]
    if not found:
        raise mistake(f"there is no PCI device {vendor}:{device} on this host", "`lspci -nn` there lists what it has")
    if len(found) > 1:
        raise mistake(
            f"{len(found)} PCI devices of this host are {vendor}:{device}: {', '.join(found)}",
            "choose one of them by its address",
        )
    return found[0]


def _must_exist(system: System, address: str, host: str) -> None:
    if not system.exists(f"{PCI}/{address}"):
        said = "" if host == address else f" ({host!r})"
        raise mistake(f"there is no PCI device {address}{said} on this host", "`lspci` there lists what it has")


def virtual_function(system: System, physical: str, index: int) -> str | None:
    """The address of a virtual function that exists."""
    return system.link(f"{PCI}/{physical}/virtfn{index}")


def blocked(error: Blocked, device: str) -> Blocked:
    """The same with the name of the assignment."""
    error.blocker.device = device
    return error
