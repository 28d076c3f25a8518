# SPDX-License-Identifier: GPL-2.0-or-later
"""What the process is told is read key by key, and what its container may see of the guest's RAM follows from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from passthru.emulation.fsl_mc_bridge.places import CONTROL_SIZE, PORTALS_SIZE, QUEUES_SIZE
from passthru.emulation.fsl_mc_bridge.settings import Settings, parse_settings
from passthru.emulation.shared_ram.board import RamPlace
from passthru.errors import UserMistake

MIB = 1 << 20
BASE = 0x40000000
GOOD: dict[str, Any] = {
    "ram": {"path": "/ram", "size": 256 * MIB},
    "qtest": "/qtest",
    "container": "dprc.2",
    "group": "/dev/vfio/3",
    "portals": BASE + 192 * MIB,
    "queues": BASE + 196 * MIB,
    "control": BASE + 200 * MIB,
}


def test_whole_settings() -> None:
    settings = parse_settings(json.dumps(GOOD))
    place = RamPlace("/ram", 256 * MIB, BASE)
    windows = BASE + 192 * MIB, BASE + 196 * MIB, BASE + 200 * MIB
    assert settings == Settings(place, "/qtest", "dprc.2", "/dev/vfio/3", *windows, "type1", None)
    assert parse_settings(json.dumps(asdict(settings))) == settings


def test_the_container_sees_all_but_the_windows() -> None:
    end = 200 * MIB + CONTROL_SIZE
    assert parse_settings(json.dumps(GOOD)).visible == (
        (BASE, 192 * MIB),
        (BASE + end, 256 * MIB - end),
    )


def test_windows_may_be_anywhere() -> None:
    moved = {**GOOD, "control": BASE, "portals": BASE + 256 * MIB - PORTALS_SIZE, "queues": BASE + 64 * MIB}
    behind = BASE + 64 * MIB + QUEUES_SIZE
    assert parse_settings(json.dumps(moved)).visible == (
        (BASE + CONTROL_SIZE, 64 * MIB - CONTROL_SIZE),
        (behind, BASE + 256 * MIB - PORTALS_SIZE - behind),
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"iommu": "noiommu"}, "iommu of the bridge is 'noiommu'; it must be type1 or type1v2"),
        ({"queues": BASE + 193 * MIB}, "portals, queues and control of the bridge overlap at 0x4c100000"),
        ({"control": BASE + 192 * MIB}, "portals, queues and control of the bridge overlap"),
        ({"group": 3}, "group of the bridge is 3; it must be str"),
        ({"device": "dprc.2"}, "the bridge has no key 'device'"),
        ({"portals": -1}, "portals of the bridge is -1"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserMistake, match=sentence):
        parse_settings(json.dumps({**GOOD, **change}))


def test_what_lacks_is_named() -> None:
    with pytest.raises(UserMistake, match=r"the bridge lacks a key; of .*group.* some are needed"):
        parse_settings(json.dumps({key: value for key, value in GOOD.items() if key != "group"}))
