# SPDX-License-Identifier: GPL-2.0-or-later
"""What the device tree says of a platform device's regions and interrupts: what VFIO has to show of it.

Devicetree Specification, 2.3.6 (reg), 2.3.8 (ranges), 2.4 (interrupts); arm,gic-v3.yaml for an interrupt's three cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CELLS_OF_GIC = 3
_LEVEL = 0x4 | 0x8  # IRQ_TYPE_LEVEL_HIGH, _LOW


@dataclass(frozen=True)
class Node:
    """``regions`` are (address on the parent's bus, size) in bytes; ``levels`` tells of each interrupt if it is one.

    ``is_at_root``: whether addresses are physical ones. ``levels`` is None where they are written in another way.
    """

    regions: tuple[tuple[int, int], ...]
    is_at_root: bool
    levels: tuple[bool, ...] | None


def node_of(name: str, root: Path = Path("/")) -> Node | None:
    """The node of a device by its name in sysfs; None where there is none."""
    for bus in ("platform", "amba"):
        path = root / f"sys/bus/{bus}/devices/{name}/of_node"
        if path.exists():
            return _parsed(path.resolve())
    return None


def _parsed(path: Path) -> Node:
    above = path.parent
    address, size = _cell(above / "#address-cells", 2), _cell(above / "#size-cells", 1)
    cells = _cells(path / "reg")
    regions = [
        (_number(cells[at : at + address]), _number(cells[at + address : at + address + size]))
        for at in range(0, len(cells), address + size)
    ]
    return Node(tuple(regions), not (above / "compatible").exists() or not (above.parent / "reg").exists(), _levels(path))


def _levels(path: Path) -> tuple[bool, ...] | None:
    cells = _cells(path / "interrupts")
    if (path / "interrupts-extended").exists() or len(cells) % _CELLS_OF_GIC:
        return None
    return tuple(bool(flags & _LEVEL) for flags in cells[2::_CELLS_OF_GIC])


def _cells(path: Path) -> list[int]:
    data = path.read_bytes() if path.exists() else b""
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]


def _cell(path: Path, otherwise: int) -> int:
    found = _cells(path)
    return found[0] if found else otherwise


def _number(cells: list[int]) -> int:
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value
