# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a target before the tests run: where it is, which driver has it, what it can."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.capabilities import BUSES, LOST, bus_of, capabilities_of
from passthru.vfio.stubs.stub import Identity

if TYPE_CHECKING:
    from passthru.vfio.conform.bench import Bench
    from passthru.vfio.conform.description import Description
    from passthru.vfio.device import VfioDevice


@dataclass(frozen=True)
class Facts:
    """``kernel`` is the release of the kernel that has the device, ``driver`` its driver; empty over vfio-user."""

    identity: Identity
    transport: str
    container: str = ""
    kernel: str = ""
    driver: str = ""
    capabilities: frozenset[str] = frozenset()

    @property
    def version(self) -> tuple[int, int]:
        """The first two numbers of the kernel's release; (0, 0) without a kernel."""
        numbers = re.match(r"(\d+)\.(\d+)", self.kernel)
        return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)

    def told(self) -> dict[str, object]:
        """As it is reported."""
        identity = self.identity
        device = f"{identity.vendor:04x}:{identity.device:04x}" if identity.bus == "pci" else identity.name
        return {
            "kernel": self.kernel,
            "bus": identity.bus,
            "device": device,
            "name": identity.name,
            "driver": self.driver,
            "transport": self.transport,
            "container": self.container,
            "capabilities": sorted(self.capabilities),
        }


def identify(description: Description, device: VfioDevice, root: Path = Path("/")) -> Identity:
    """Who a device is: a PCI device tells by its configuration space, the device tree of others. Raises LOST."""
    bus = bus_of(device)
    vendor = number = 0
    if bus == "pci":
        try:
            header = device.read(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 0, 4)
        except LOST:
            raise
        except OSError:  # its tests will tell
            header = b""
        if len(header) == 4:
            vendor, number = int.from_bytes(header[:2], "little"), int.from_bytes(header[2:], "little")
    compatible = compatible_of(description.name, root) if description.target.transport == "kernel" else ()
    return Identity(bus, vendor, number, description.name, compatible)


def gather(description: Description, bench: Bench, root: Path = Path("/")) -> Facts:
    """The facts of a target on the bench; ``root`` is where the host's sysfs is found. Raises OSError."""
    kernel = description.target.transport == "kernel"
    capabilities = capabilities_of(description, bench)
    try:
        identity = identify(description, bench.opened.device, root)
    except LOST:
        bench.drop()
        bus = next((bus for bus in reversed(BUSES.values()) if bus in capabilities), "unknown")  # amba is platform too
        identity = Identity(bus, name=description.name)
    return Facts(
        identity,
        description.target.transport,
        description.container,
        os.uname().release if kernel else "",
        driver_of(description.name, root) if kernel else "",
        capabilities,
    )


def driver_of(name: str, root: Path = Path("/")) -> str:
    """The driver that a device is bound to, on whichever bus it is; empty where there is none."""
    for link in (root / "sys/bus").glob(f"*/devices/{name}/driver"):
        return link.readlink().name if link.is_symlink() else ""
    return ""


def compatible_of(name: str, root: Path = Path("/")) -> tuple[str, ...]:
    """What the device tree calls a device; nothing where it has no node."""
    for path in (root / "sys/bus").glob(f"*/devices/{name}/of_node/compatible"):
        return tuple(text for text in path.read_text().split("\0") if text)
    return ()
