# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware of an arm64 rig that is not on PCI: where it is, and what the device tree says of it."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from passthru.emulation.models import catalogue
from passthru.emulation.shared_ram.smmu import CONTEXTS, SIZE
from passthru.qemu import shared_ram
from passthru.qemu.fragments import LABELS, Fragment, known_fragments
from passthru.qemu.hardware import Misplaced
from passthru.qemu.on_board import DEVICES, MODELS, OnBoard, addresses, fragments, placed
from passthru.resources import directory

CLOCK, LINE = OnBoard("clock", "pl031"), OnBoard("line", "pl011", "platform")
COPY, OTHER, MC = OnBoard("a", "copy-engine"), OnBoard("b", "copy-engine"), OnBoard("mc", "management-complex")
ALL = (CLOCK, LINE, COPY, OTHER, MC)


def test_models_have_seats_that_do_not_overlap() -> None:
    pieces = [*(OnBoard(f"e{number}", "copy-engine") for number in range(shared_ram.MOST)), MC]
    seats = placed(pieces, "arm64", "ram-smmuv2", 1024)
    taken = [(shared_ram.SMMU, shared_ram.SMMU + SIZE)]
    for piece in pieces:
        kind = catalogue()[piece.what]
        device = kind(kind.Options())
        assert len(device.regions) == len(seats[piece.name].regions)
        assert len(seats[piece.name].spis) <= len(device.irqs)
        for region, base in zip(device.regions, seats[piece.name].regions, strict=True):
            taken.append((base, base + region.size))
        device.close()
    for (begin, end), (other, after) in combinations(taken, 2):
        assert end <= other or after <= begin
    for begin, end in taken:
        assert shared_ram.RESERVED <= begin < end <= shared_ram.RESERVED_END
    spis = [spi for seat in seats.values() for spi in seat.spis]
    spis += [shared_ram.SMMU_GLOBAL_SPI, *shared_ram.SMMU_CONTEXT_SPIS]
    assert len(set(spis)) == len(spis)
    streams = [seat.stream for seat in seats.values()]
    assert len(set(streams)) == len(streams)
    assert max(streams) < 1 << 15
    assert len(shared_ram.SMMU_CONTEXT_SPIS) == CONTEXTS


def test_a_seat_is_the_same_in_the_tree() -> None:
    seats = placed(ALL, "arm64", "ram-smmuv2", 2048)
    texts = {each.name: each.text() for each in fragments(ALL, seats, "ram-smmuv2", "arm64")}
    assert "$" not in "".join(texts.values())
    (own,) = re.findall(r"copy-engine@(\w+)", texts["copy-engine"])
    assert int(own, 16) == seats["b"].regions[0]  # the last of that name
    assert f"<0 {seats['b'].spis[0]} 4>" in texts["copy-engine"]
    assert f"&iommu 0x{seats['b'].stream:x}" in texts["copy-engine"]
    assert f"fsl-mc@{seats['mc'].regions[0]:x}" in texts["management-complex"]
    assert f"iommu@{shared_ram.SMMU:x}" in texts["ram-smmuv2"]
    assert texts["ram-smmuv2"].count(" 1>,") + 1 == 1 + CONTEXTS


def test_fragments_in_their_order() -> None:
    seats = placed(ALL, "arm64", "ram-smmuv2", 2048)
    names = [each.name for each in fragments(ALL, seats, "ram-smmuv2", "arm64", ["rtc-platform", "/my.dtsi"])]
    assert names == [
        "ram-smmuv2",
        "rtc",
        "uart-platform",
        "copy-engine",
        "copy-engine",
        "management-complex",
        "rtc-platform",
        "/my.dtsi",
    ]
    assert [each.name for each in fragments([CLOCK], {}, "smmuv3", "arm64")] == ["smmuv3", "rtc"]
    assert list(fragments([], {}, "none", "arm64")) == []


def test_addresses_are_the_kernels_names() -> None:
    seats = placed(ALL, "arm64", "ram-smmuv2", 2048)
    assert addresses(ALL, seats) == {
        "clock": "9010000.pl031",
        "line": "9040000.pl011",
        "a": "7fc00000.copy-engine",
        "b": "7fc01000.copy-engine",
    }


def test_a_serial_port_has_a_stream() -> None:
    assert [piece.stream for piece in ALL] == ["", "hardware-line", "", "", ""]


@pytest.mark.parametrize(
    ("pieces", "arch", "iommu", "memory", "name", "key", "said"),
    [
        ((CLOCK,), "amd64", "intel", 2048, "clock", "device", 'is "pl031", which only a rig has whose host.arch is'),
        ((COPY,), "amd64", "none", 2048, "a", "model", 'is "copy-engine", which only a rig has whose host.arch is'),
        ((CLOCK,), "arm64", "none", 2048, "clock", "device", 'is "pl031", which needs an IOMMU; host.iommu is "none"'),
        ((COPY,), "arm64", "smmuv3", 2048, "a", "model", 'is "copy-engine", which needs host.iommu = "ram-smmuv2"'),
        ((MC, OnBoard("x", "management-complex")), "arm64", "ram-smmuv2", 2048, "x", "model", "of which a rig has at"),
        ((CLOCK, OnBoard("x", "pl031")), "arm64", "smmuv3", 2048, "x", "device", "of which a rig has at most 1"),
        ((), "arm64", "ram-smmuv2", 1023, "", "memory", 'is too little for "ram-smmuv2"; give it "1024M" at least'),
    ],
)
def test_what_cannot_be_is_told(
    pieces: tuple[OnBoard, ...], arch: str, iommu: str, memory: int, name: str, key: str, said: str
) -> None:
    with pytest.raises(Misplaced) as caught:
        placed(pieces, arch, iommu, memory)
    assert (caught.value.name, caught.value.key) == (name, key)
    assert said in str(caught.value)


def test_fragments_that_a_scenario_may_name_stand_for_themselves() -> None:
    files = {path.stem for path in (directory("images") / "trees").glob("*.dtsi")}
    known = set(known_fragments())
    assert known == {"rtc", "rtc-platform", "uart", "uart-platform"}
    assert {LABELS, "smmuv3", "ram-smmuv2", *MODELS} <= files - known
    for device in DEVICES.values():
        assert {device.fragment, f"{device.fragment}-platform"} <= known
    for name in files:
        assert Fragment(name).path.read_text().startswith("// SPDX-License-Identifier: GPL-2.0-or-later\n")
