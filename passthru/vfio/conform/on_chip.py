# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host itself says of a platform or AMBA device: its regions by the device tree, its interrupts by their use.

Devicetree Specification, 2.3.6: reg, #address-cells and #size-cells of the parent; Documentation/filesystems/proc.rst:
/proc/interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TREE = "base"  # the root's name in /sys/firmware/devicetree
_RESETS = "sys/module/vfio_reset_stub/parameters/resets"


@dataclass(frozen=True)
class Place:
    """``address`` is physical, None where a bus between may translate it; ``size`` is in bytes."""

    address: int | None
    size: int


def places_of(name: str, root: Path = Path("/")) -> tuple[Place, ...] | None:
    """Where a device's regions are, by its name in sysfs; None where no device tree tells."""
    for bus in ("platform", "amba"):
        node = root / f"sys/bus/{bus}/devices/{name}/of_node"
        if (node / "reg").exists():
            return tuple(_places(node.resolve()))
    return None


def lines_of(name: str, root: Path = Path("/")) -> list[bool]:
    """For each interrupt that VFIO has requested for a device whether it is a level.

    vfio-platform calls them by the device's name, vfio-amba by its periphid.
    """
    found = []
    for line in (root / "proc/interrupts").read_text().splitlines():
        words = line.split()
        if words and words[-1].startswith("vfio-irq[") and (f"({name})" in words[-1] or "(vfio-amba-" in words[-1]):
            found.append("Level" in words)
    return found


def resets(root: Path = Path("/")) -> int | None:
    """How often passthru's reset driver was called for any device; None where it is not there."""
    path = root / _RESETS
    return int(path.read_text()) if path.exists() else None


def _places(node: Path) -> list[Place]:
    parent = node.parent
    cells = _cells(node / "reg")
    wide, long = _cell(parent / "#address-cells", 2), _cell(parent / "#size-cells", 1)
    found = []
    for at in range(0, len(cells), wide + long):
        address = _number(cells[at : at + wide]) if parent.name == _TREE else None
        found.append(Place(address, _number(cells[at + wide : at + wide + long])))
    return found


def _cells(path: Path) -> list[int]:
    data = path.read_bytes()
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]


def _cell(path: Path, otherwise: int) -> int:
    return _cells(path)[0] if path.exists() else otherwise


def _number(cells: list[int]) -> int:
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value
