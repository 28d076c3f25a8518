# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a guest finds its platform devices: as QEMU's platform bus places them, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import UserMistake
from passthru.qemu.guest_platform import NODES, Node, places

if TYPE_CHECKING:
    from pathlib import Path


def test_devices_follow_each_other_on_the_bus() -> None:
    found = places({"line": NODES["pl011"], "clock": NODES["pl031"], "copier": NODES["copy-engine"]})
    assert [place.address for place in found.values()] == ["c000000.serial", "c001000.rtc", "c002000.copy-engine"]
    assert [place.spis for place in found.values()] == [(112,), (113,), (114,)]
    text = found["copier"].fragment.text()
    assert "copy-engine@2000 {" in text
    assert "reg = <0x2000 0x1000>;" in text
    assert "interrupts = <0 114 4>;" in text
    assert 'serial1 = "/platform-bus@c000000/serial@0";' in found["line"].fragment.text()


def test_registers_are_at_the_first_free_place_that_their_size_divides(tmp_path: Path) -> None:
    (tmp_path / "mine.dtsi").write_text(
        "&{/platform-bus@c000000} { net@$offset { reg = <0x$offset 0x10000 0x$offset1 0x800>;"
        " interrupts = <0 $spi 4>, <0 $spi1 4>; }; };"
    )
    mine = Node(f"{tmp_path}/mine.dtsi", (0x10000, 0x800), interrupts=2)
    found = places(
        {"clock": NODES["pl031"], "net": mine, "line": NODES["pl011"], "odd": Node(mine.fragment, (0x1800,))}
    )
    assert found["net"].regions == (0xC010000, 0xC001000)  # the small one fits behind the clock
    assert found["net"].spis == (113, 114)
    assert found["net"].fragment.text() == (
        "&{/platform-bus@c000000} { net@10000 { reg = <0x10000 0x10000 0x1000 0x800>;"
        " interrupts = <0 113 4>, <0 114 4>; }; };"
    )
    assert found["line"].regions == (0xC002000,)
    assert found["odd"].regions == (0xC004000,)  # of 6 KiB, so at a multiple of 8
    assert found["odd"].spis == (115 + 1,)


@pytest.mark.parametrize(
    ("text", "node", "said"),
    [
        ("&{/platform-bus@c000000} { };", {}, "has no node NAME@$offset, by which device.d is found in the guest"),
        ("net@$offset", {"regions": (0x2000000, 0x1000)}, "device.d has no room in the guest for 4096 bytes"),
        ("net@$offset", {"interrupts": 65}, "device.d has no interrupt left: the bus of platform devices has 64"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, text: str, node: dict[str, object], said: str) -> None:
    (tmp_path / "mine.dtsi").write_text(text)
    with pytest.raises(UserMistake) as caught:
        places({"d": Node(f"{tmp_path}/mine.dtsi", **node)})  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [("x@$offset $spi7", "has $spi7; what stands for"), ("x@$offset $ ", "has a $")]
)
def test_a_value_that_nobody_gives_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.dtsi").write_text(text)
    place = places({"d": Node(f"{tmp_path}/mine.dtsi")})["d"]
    with pytest.raises(UserMistake) as caught:
        place.fragment.text()
    assert said in str(caught.value)
