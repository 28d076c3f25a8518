# SPDX-License-Identifier: GPL-2.0-or-later
"""What no table of a host or of an assigned device can know by itself: whether they fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from passthru.qemu.hardware import Misplaced, hardware_addresses
from passthru.scenario.device_models import like
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
    if isinstance(host, RigHost):
        try:
            addresses = hardware_addresses(host.pieces)
        except Misplaced as error:
            yield Problem(("host", "hardware", error.name, error.key), str(error))
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
    yield from _used_twice(cards, addresses)
    yield from _uuids({name: device for name, device in devices.items() if isinstance(device, MdevDevice)})
    for name, device in devices.items():
        if isinstance(device, MdevDevice):
            yield from _unlike(name, device)


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
