# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig's hardware: where each piece is, and what QEMU is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from passthru.qemu.hardware import (
    BRIDGE_SLOTS,
    PLACES,
    SLOTS,
    Hardware,
    Misplaced,
    hardware_addresses,
    hardware_devices,
    needed,
    stream_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

UART, EDU, NIC = Hardware("uart", "pci-serial"), Hardware("edu0", "edu"), Hardware("nic", "igb")


def test_pieces_without_a_slot_get_free_ones_in_their_order() -> None:
    there = replace(EDU, name="there", slot="06")
    assert hardware_addresses([UART, there, EDU, NIC]) == {
        "uart": "00:05.0",
        "there": "00:06.0",
        "edu0": "00:07.0",
        "nic": "00:08.0/00.0",
    }


def test_another_piece_at_the_end_moves_nobody() -> None:
    few = hardware_addresses([UART, NIC])
    assert few.items() <= hardware_addresses([UART, NIC, EDU]).items()


def test_behind_the_bridge_there_are_slots_of_its_own() -> None:
    behind = [replace(piece, place="bridge") for piece in (UART, EDU)]
    assert hardware_addresses([NIC, *behind]) == {
        "nic": "00:05.0/00.0",
        "uart": "00:04.0/01.0",
        "edu0": "00:04.0/02.0",
    }
    bridge, *rest = [device for device in hardware_devices(behind) if device.properties["bus"] == "pcie.0"]
    assert (bridge.driver, bridge.properties["addr"], rest) == ("pcie-pci-bridge", "04.0", [])


@pytest.mark.parametrize(
    ("place", "addresses"),
    [
        ("root", ("00:0a.0", "00:0a.1")),
        ("root-port", ("00:0a.0/00.0", "00:0a.0/00.1")),
        ("bridge", ("00:04.0/0a.0", "00:04.0/0a.1")),
    ],
)
def test_functions_of_one_device(place: str, addresses: tuple[str, str]) -> None:
    pieces = [replace(EDU, place=place, slot="0a"), replace(UART, place=place, slot="0a", function=1)]
    assert tuple(hardware_addresses(pieces).values()) == addresses
    *bridges, edu, uart = hardware_devices(pieces)
    assert len(bridges) == (place != "root")
    assert [device.properties["multifunction"] for device in (edu, uart)] == [True, True]
    assert [device.properties["addr"][-2:] for device in (edu, uart)] == [".0", ".1"]
    assert edu.properties["bus"] == uart.properties["bus"] == (bridges[0].properties["id"] if bridges else "pcie.0")


def test_what_a_piece_needs_beside_it() -> None:
    port, uart, nic = hardware_devices([UART, replace(NIC, properties={"mac": "52:54:00:00:00:01"})])
    assert uart.properties == {"id": "uart", "bus": "pcie.0", "addr": "05.0", "chardev": "hardware-uart"}
    assert uart.streams == (stream_of("uart"),)
    assert (port.driver, port.properties["id"], port.properties["addr"]) == ("pcie-root-port", "port-06", "06.0")
    assert nic.backends == (("-netdev", "user,id=net-nic,restrict=on"),)
    assert nic.properties == {
        "id": "nic",
        "bus": "port-06",
        "addr": "00.0",
        "netdev": "net-nic",
        "mac": "52:54:00:00:00:01",
    }
    assert (nic.streams, uart.backends) == ((), ())


def test_what_qemu_must_have() -> None:
    assert needed([]) == frozenset()
    assert needed([UART, EDU]) == {"pci-serial", "edu"}
    assert needed([NIC, replace(EDU, place="bridge")]) == {"igb", "pcie-root-port", "edu", "pcie-pci-bridge"}


@pytest.mark.parametrize(
    ("pieces", "name", "key", "said"),
    [
        ([replace(EDU, slot="04")], "edu0", "slot", 'those are "05" to "1e"'),
        ([replace(EDU, slot="00", place="bridge")], "edu0", "slot", 'those are "01" to "1f"'),
        ([replace(EDU, function=1)], "edu0", "function", "needs a slot"),
        ([replace(EDU, slot="06", function=1)], "edu0", "function", "no piece is function 0 in slot 06"),
        ([replace(EDU, slot="06"), replace(UART, slot="06")], "uart", "slot", "as function 0, where edu0 is already"),
        ([replace(EDU, slot="06"), replace(NIC, slot="06")], "nic", "slot", "where edu0 is already, in another place"),
        ([replace(EDU, name=slot) for slot in (*SLOTS, "x")], "x", "slot", "there are too many"),
        ([replace(EDU, name=slot, place="bridge") for slot in (*BRIDGE_SLOTS, "x")], "x", "slot", "too many"),
    ],
)
def test_what_cannot_be_where_it_is_wanted(pieces: Sequence[Hardware], name: str, key: str, said: str) -> None:
    for made in (hardware_addresses, hardware_devices):
        with pytest.raises(Misplaced, match=said) as caught:
            made(pieces)
        assert (caught.value.name, caught.value.key, caught.value.exit_code) == (name, key, 2)


def test_one_slot_in_two_places_where_one_is_behind_the_bridge() -> None:
    pieces = [replace(EDU, name=place, place=place, slot=f"0{number}") for number, place in enumerate(PLACES, 5)]
    same = [pieces[0], replace(pieces[2], slot="05")]
    assert hardware_addresses(same) == {"root": "00:05.0", "bridge": "00:04.0/05.0"}
