# SPDX-License-Identifier: GPL-2.0-or-later
"""What no table of a host or of an assigned device can know by itself: whether they fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from passthru.emulation.options import build_options
from passthru.errors import UserMistake
from passthru.qemu.boards import BOARDS, Q35
from passthru.qemu.fragments import known_fragments
from passthru.qemu.hardware import Misplaced, hardware_addresses
from passthru.qemu.on_board import placed
from passthru.scenario.device_models import like, locate
from passthru.scenario.hosts import RigHost
from passthru.scenario.passed_through import MdevDevice, PciDevice
from passthru.scenario.problems import Problem, choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from passthru.scenario.hosts import HostSpec
    from passthru.scenario.models import DeviceSpec


def virtual_functions(tables: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The key ``vfs`` of each device table that has ``vf`` alone: as many as all devices of that host's card need."""
    most: dict[object, int] = {}
    cards = {}
    for name, table in tables.items():
        if isinstance(table, dict) and _counts(table.get("vf")) and isinstance(table.get("host"), str):
            cards[name] = card = table["host"]
            given = table.get("vfs")
            most[card] = max(most.get(card, 0), table["vf"] + 1, given if _counts(given) else 0)
    return {name: {"vfs": most[card]} for name, card in cards.items()}


def _counts(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def of_host(host: HostSpec | None, guest: Any, devices: Mapping[str, DeviceSpec]) -> Iterator[Problem]:
    """The problems between ``[host]``, ``[guest]`` as it is written, and the devices that are right in themselves."""
    addresses: dict[str, str] = {}
    yield from _machine(host, guest)
    if isinstance(host, RigHost):
        try:
            addresses = hardware_addresses(host.pieces)
        except Misplaced as error:
            yield Problem(("host", "hardware", error.name, error.key), str(error))
        yield from of_board(host)
        theirs = guest.get("qemu", "auto") if isinstance(guest, dict) else "auto"
        if host.qemu and theirs not in ("auto", host.qemu):
            yield Problem(("host", "qemu"), f'is "{host.qemu}", and guest.qemu is "{theirs}"; keep one of them')
    cards = {name: device for name, device in devices.items() if isinstance(device, PciDevice)}
    for name, card in cards.items():
        if host is not None and card.hardware and not isinstance(host, RigHost):
            yield Problem(
                ("device", name, "host"),
                f'is "{card.host}", which names hardware of a rig; give an address ("0000:00:05.0"), vendor and device'
                ' ("1234:11e8"), or host.kind = "rig"',
            )
        elif isinstance(host, RigHost) and card.hardware and card.hardware not in host.hardware:
            yield Problem(("device", name, "host"), choice(card.hardware, host.hardware, "hardware of the rig"))
        elif isinstance(host, RigHost) and card.hardware and host.hardware[card.hardware].on_board:
            yield Problem(("device", name, "host"), f'is "{card.host}", which is no PCI device')
    yield from _used_twice(cards, addresses)
    yield from _uuids({name: device for name, device in devices.items() if isinstance(device, MdevDevice)})
    for name, device in devices.items():
        if isinstance(device, MdevDevice):
            yield from _unlike(name, device)


def guest_machine(host: HostSpec | None, guest: Any) -> Any:
    """The table ``[guest]`` with the machine that guests of this host have, where it names none."""
    arch = host.arch if isinstance(host, RigHost) else ""
    if arch not in BOARDS or not isinstance(guest, dict | None) or "machine" in (guest or {}):
        return guest
    return {**(guest or {}), "machine": BOARDS[arch].guest_machines[0]}


def _machine(host: HostSpec | None, guest: Any) -> Iterator[Problem]:
    if host is None:
        return
    arch = host.arch if isinstance(host, RigHost) else Q35.arch
    machine = guest.get("machine") if isinstance(guest, dict) else None
    known = {each for board in BOARDS.values() for each in board.guest_machines}
    if isinstance(machine, str) and machine in known and machine not in (there := BOARDS[arch].guest_machines):
        where = f"a rig of {arch}" if isinstance(host, RigHost) else "this machine"
        yield Problem(("guest", "machine"), f'is "{machine}", and a guest on {where} is {" or ".join(there)}')


def of_board(host: RigHost) -> Iterator[Problem]:
    """What of a rig does not fit its architecture."""
    board = BOARDS[host.arch]
    if host.iommu not in board.iommus:
        there = ", ".join(board.iommus)
        yield Problem(("host", "iommu"), f'is "{host.iommu}", which no rig of {host.arch} has; there are: {there}')
        return
    try:
        placed(host.on_board, host.arch, host.iommu, host.memory)
    except Misplaced as error:
        where = ("host", "hardware", error.name) if error.name else ("host",)
        yield Problem((*where, error.key), str(error))
    for number, name in enumerate(host.tree):
        if not board.has_tree:
            yield Problem(("host", "tree"), f"is for a rig with a device tree, and {host.arch} has none")
            break
        if "/" not in name and name not in (known := known_fragments()):
            yield Problem(("host", "tree", number), choice(name, known, "device-tree fragment"))
    for name, spec in host.hardware.items():
        if spec.model:
            try:
                build_options(locate(spec.model).kind.Options, spec.model, spec.options)
            except UserMistake as error:
                yield Problem(("host", "hardware", name, "options"), str(error))


def _used_twice(cards: Mapping[str, PciDevice], addresses: Mapping[str, str]) -> Iterator[Problem]:
    """A function is assigned once, and a card either whole or by its virtual functions."""
    users: dict[str, dict[int | None, str]] = {}
    counts: dict[str, tuple[int | None, str]] = {}
    for name, card in cards.items():
        place = addresses.get(card.host, card.host).removeprefix("0000:")
        used = users.setdefault(place, {})
        clash = next((other for vf, other in used.items() if vf == card.vf or None in (vf, card.vf)), None)
        if clash is not None:
            what = "the same virtual function" if used.get(card.vf) and card.vf is not None else "it"
            yield Problem(("device", name, "host"), f'is "{card.host}", and {clash} is {what} already')
            continue
        used[card.vf] = name
        count, first = counts.setdefault(place, (card.vfs, name))
        if count != card.vfs:
            yield Problem(("device", name, "vfs"), f"is {card.vfs}, and {count} for {first}, which is on the same card")


def _uuids(devices: Mapping[str, MdevDevice]) -> Iterator[Problem]:
    holders: dict[str, str] = {}
    for name, device in devices.items():
        if device.uuid is not None and (other := holders.setdefault(device.uuid, name)) != name:
            yield Problem(("device", name, "uuid"), f"is that of {other} already; each mediated device has its own")


def _unlike(name: str, device: MdevDevice) -> Iterator[Problem]:
    """Options that contradict the type."""
    for key, value in like(
        {"bus": "mdev", "type": device.type, "parent": device.parent, "model": device.model}
    ).items():
        if key != "model" and device.options.get(key, value) != value:
            yield Problem(("device", name, key), f"is {device.options[key]}, and {value} for the type {device.type}")
