# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's machine is given for a container: its device tree and the process beside it say the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from passthru.emulation.fsl_mc_bridge.places import CONTROL_SIZE, PORTALS_SIZE, QUEUES_SIZE
from passthru.emulation.fsl_mc_bridge.settings import parse_settings
from passthru.qemu.guest_fsl_mc import LEAST_MIB, bridge_settings, takes_containers, windows
from passthru.qemu.shared_ram import RAM_BASE

MIB = 1 << 20


@pytest.mark.parametrize(
    ("memory", "portals"),
    [(LEAST_MIB, 64), (256, 192), (257, 192), (1030, 960)],
)
def test_windows_are_high_up_in_ram(memory: int, portals: int) -> None:
    place = windows(memory)
    assert place.portals == RAM_BASE + portals * MIB
    assert place.portals + PORTALS_SIZE == place.queues
    assert place.queues + QUEUES_SIZE == place.control
    assert place.control + CONTROL_SIZE <= RAM_BASE + memory * MIB


def test_too_little_ram() -> None:
    with pytest.raises(ValueError, match="127 MiB of RAM leave no room"):
        windows(127)


def test_the_tree_says_what_the_process_is_told() -> None:
    place = windows(256)
    text = place.fragment.text()
    assert "$" not in text
    for line in (
        "reg = <0 0x4c000000 0 0x810000>;",
        "reg = <0 0x4c000000 0 0x40>, <0 0x4c800000 0 0x10000>;",
        "ranges = <0x0 0x0 0x0 0x0 0x4c000000 0x400000>, <0x1 0x0 0x0 0x0 0x4c400000 0x400000>;",
    ):
        assert line in text
    settings = parse_settings(bridge_settings("dprc.2", "/dev/vfio/3", "/ram", 256, "/qtest"))
    assert (settings.portals, settings.queues, settings.control) == (0x4C000000, 0x4C400000, 0x4C800000)
    assert (settings.ram.base, settings.ram.size, settings.ram.path) == (RAM_BASE, 256 * MIB, "/ram")
    assert (settings.container, settings.group, settings.iommu, settings.ready) == (
        "dprc.2",
        "/dev/vfio/3",
        "type1",
        None,
    )


def test_a_placeholder_becomes_a_number() -> None:
    text = bridge_settings("dprc.2", "/dev/vfio/3", "/ram", 256, "/qtest", ready="{stream:ready}")
    assert parse_settings(text.replace("{stream:ready}", "7")).ready == 7


@pytest.mark.parametrize(("devices", "direct"), [({"vfio-pci"}, False), ({"vfio-pci", "vfio-fsl-mc"}, True)])
def test_a_qemu_that_has_the_device(devices: set[str], direct: bool) -> None:
    qemu: Any = SimpleNamespace(missing=lambda wanted: [name for name in wanted if name not in devices])
    assert takes_containers(qemu) is direct
