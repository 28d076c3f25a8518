# SPDX-License-Identifier: GPL-2.0-or-later
"""The hardware of a rig: what is plugged in where, so that each piece's PCI address is known before the rig boots.

A rig is a q35 machine. Its first bus has the slots 05 to 1e for hardware, itself or a root port for it; the lower ones
and 1f are the rig's own (``passthru.qemu.rig``), a PCI bridge for pieces that are to share an IOMMU group among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from passthru.errors import UserMistake
from passthru.qemu.argv import Device

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT, ROOT_PORT, BRIDGE = "root", "root-port", "bridge"
PLACES = (ROOT, ROOT_PORT, BRIDGE)

BRIDGE_SLOT = "04"
"""Where the PCI bridge is, if any hardware is behind it."""
SLOTS = tuple(f"{slot:02x}" for slot in range(0x05, 0x1F))
"""Slots of the first bus that are for hardware."""
BRIDGE_SLOTS = tuple(f"{slot:02x}" for slot in range(0x01, 0x20))
"""Slots behind the bridge; its hot-plug controller takes 00."""

# QEMU's network cards; those that are PCI Express need a port of their own for SR-IOV and reset.
_EXPRESS_NICS = frozenset({"igb", "e1000e", "vmxnet3"})
_NICS = _EXPRESS_NICS | {
    *("e1000", "e1000-82544gc", "e1000-82545em", "ne2k_pci", "pcnet", "rtl8139", "sungem", "tulip"),
    *("i82550", "i82551", "i82557a", "i82557b", "i82557c", "i82558a", "i82558b", "i82559a", "i82559b", "i82559c"),
    *("i82559er", "i82562", "i82801", "virtio-net-pci", "virtio-net-pci-non-transitional"),
}
_SERIAL = frozenset({"pci-serial"})

OWN_PROPERTIES = ("id", "driver", "addr", "bus", "chardev", "netdev", "multifunction")
"""Properties that are set here."""


class Misplaced(UserMistake):
    """Hardware cannot be where it is wanted; ``name`` is the piece, ``key`` what is wrong about it."""

    def __init__(self, name: str, key: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.key = key


@dataclass(frozen=True)
class Hardware:
    """One piece: a QEMU device, and where it is plugged in."""

    name: str
    device: str
    place: str = ""
    """``root``, ``root-port``, ``bridge``; by default what suits the device."""
    slot: str = ""
    """Two hexadecimal digits; by default the first free one."""
    function: int = 0
    """Pieces with the same place and slot are functions of one device."""
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def bus(self) -> str:
        """The place that it has."""
        return self.place or (ROOT_PORT if self.device in _EXPRESS_NICS else ROOT)

    @property
    def stream(self) -> str:
        """The name of the stream that its serial line is; empty where it has none."""
        return stream_of(self.name) if self.device in _SERIAL else ""


def stream_of(name: str) -> str:
    """The stream of the serial line of the piece called ``name``."""
    return f"hardware-{name}"


def hardware_addresses(hardware: Iterable[Hardware]) -> dict[str, str]:
    """Name -> where the rig's kernel finds the piece: ``00:05.0``, or behind a bridge ``00:06.0/00.0``.

    After the slash is the slot on the bus behind what is before it; the number of that bus is the firmware's choice.
    Raises Misplaced.
    """
    return {piece.name: _address(piece, slot) for piece, slot in _slotted(tuple(hardware))}


def needed(hardware: Iterable[Hardware]) -> frozenset[str]:
    """The devices that QEMU must have for the hardware."""
    pieces = tuple(hardware)
    ports = {"pcie-root-port"} if any(piece.bus == ROOT_PORT for piece in pieces) else set()
    bridges = {"pcie-pci-bridge"} if any(piece.bus == BRIDGE for piece in pieces) else set()
    return frozenset({piece.device for piece in pieces} | ports | bridges)


def hardware_devices(hardware: Iterable[Hardware]) -> tuple[Device, ...]:
    """QEMU's devices: each piece, after the port or bridge that it is behind. Raises Misplaced."""
    slotted = _slotted(tuple(hardware))
    buses: dict[str, Device] = {}
    devices = []
    together = [(piece.bus, slot) for piece, slot in slotted]
    for piece, slot in slotted:
        if piece.bus == ROOT_PORT:
            number = int(slot, 16)
            port = {"id": f"port-{slot}", "bus": "pcie.0", "addr": f"{slot}.0", "chassis": number, "slot": number}
            buses.setdefault(slot, Device("pcie-root-port", port))
        elif piece.bus == BRIDGE:
            bridge = {"id": "bridge", "bus": "pcie.0", "addr": f"{BRIDGE_SLOT}.0"}
            buses.setdefault(BRIDGE, Device("pcie-pci-bridge", bridge))
        devices.append(_device(piece, slot, alone=together.count((piece.bus, slot)) == 1))
    return (*buses.values(), *devices)


def _device(piece: Hardware, slot: str, *, alone: bool) -> Device:
    bus = {ROOT: "pcie.0", ROOT_PORT: f"port-{slot}", BRIDGE: "bridge"}[piece.bus]
    place = "00" if piece.bus == ROOT_PORT else slot
    properties: dict[str, Any] = {"id": piece.name, "bus": bus, "addr": f"{place}.{piece.function}"}
    backends: tuple[tuple[str, str], ...] = ()
    if not alone:
        properties["multifunction"] = True
    if piece.stream:
        properties["chardev"] = piece.stream
    if piece.device in _NICS:
        # QEMU itself is the other end: it answers ARP, DHCP and ping, and nothing leaves this machine.
        properties["netdev"] = f"net-{piece.name}"
        backends = (("-netdev", f"user,id=net-{piece.name},restrict=on"),)
    streams = (piece.stream,) if piece.stream else ()
    return Device(piece.device, {**properties, **piece.properties}, backends=backends, streams=streams)


def _address(piece: Hardware, slot: str) -> str:
    if piece.bus == ROOT_PORT:
        return f"00:{slot}.0/00.{piece.function}"
    if piece.bus == BRIDGE:
        return f"00:{BRIDGE_SLOT}.0/{slot}.{piece.function}"
    return f"00:{slot}.{piece.function}"


def _slotted(hardware: Sequence[Hardware]) -> list[tuple[Hardware, str]]:
    """Each piece with its slot: those that name one first, the others get what is free, in their order."""
    taken: dict[tuple[bool, str], Hardware] = {}
    functions: dict[tuple[str, str, int], str] = {}
    for piece in hardware:
        if not piece.slot:
            if piece.function:
                raise Misplaced(piece.name, "function", "needs a slot, which it shares with a piece that is function 0")
            continue
        if piece.slot not in _slots(piece):
            first, last = _slots(piece)[0], _slots(piece)[-1]
            raise Misplaced(piece.name, "slot", f'is no slot for hardware there; those are "{first}" to "{last}"')
        holder = taken.setdefault((piece.bus == BRIDGE, piece.slot), piece)
        if holder.bus != piece.bus:
            raise Misplaced(piece.name, "slot", f"is {piece.slot}, where {holder.name} is already, in another place")
        other = functions.setdefault((piece.bus, piece.slot, piece.function), piece.name)
        if other != piece.name:
            raise Misplaced(
                piece.name, "slot", f"is {piece.slot} as function {piece.function}, where {other} is already"
            )
    for piece in hardware:
        if piece.function and (piece.bus, piece.slot, 0) not in functions:
            raise Misplaced(
                piece.name, "function", f"is {piece.function}, and no piece is function 0 in slot {piece.slot}"
            )
    free = {behind: _free(taken, behind=behind) for behind in (False, True)}
    slotted = []
    for piece in hardware:
        slot = piece.slot or next(free[piece.bus == BRIDGE], "")
        if not slot:
            raise Misplaced(piece.name, "slot", "has none left: there are too many pieces of hardware")
        slotted.append((piece, slot))
    return slotted


def _slots(piece: Hardware) -> tuple[str, ...]:
    return BRIDGE_SLOTS if piece.bus == BRIDGE else SLOTS


def _free(taken: Mapping[tuple[bool, str], Hardware], *, behind: bool) -> Iterator[str]:
    return (slot for slot in (BRIDGE_SLOTS if behind else SLOTS) if (behind, slot) not in taken)
