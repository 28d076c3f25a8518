# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's device tree is to say of a scenario's devices, and what its QEMU must have for that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from passthru.errors import MissingCapability, UserMistake
from passthru.events import tell_nobody
from passthru.image.store import Store
from passthru.qemu.binary import Qemu
from passthru.qemu.guest_platform import Node
from passthru.run.guest_tree import guest_tree, nodes_of
from passthru.run.plan import needs_of
from passthru.scenario.loading import load

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.scenario.models import Scenario

RIG = """
[host]
kind = "rig"
arch = "arm64"
iommu = "ram-smmuv2"
memory = "1G"
[host.hardware.line]
device = "pl011"
place = "platform"
[host.hardware.copier]
model = "copy-engine"
[check.a]
use = "command"
command = "x"
"""
DEVICES = """
[device.engine]
bus = "platform"
host = "copier"
[device.uart]
bus = "platform"
host = "line"
"""
QEMU = Qemu(
    version="10.0.13",
    package="",
    arch="aarch64",
    devices=frozenset({"vfio-platform"}),
    machines=frozenset({"virt"}),
    accelerators=frozenset({"tcg"}),
    source="debian:trixie",
    command=("/bin/false",),
    identity="x",
)


def scenario(tmp_path: Path, text: str) -> Scenario:
    (tmp_path / "s.toml").write_text(text)
    return load(tmp_path / "s.toml")


def tree(of: Scenario, qemu: Qemu, tmp_path: Path) -> Any:
    return guest_tree(of, qemu, cast("Kernel", None), Store(tmp_path / "cache"), tell_nobody)


def test_hardware_of_the_rig_is_known_in_the_order_of_the_devices(tmp_path: Path) -> None:
    assert nodes_of(scenario(tmp_path, RIG + DEVICES)) == {
        "engine": Node("guest-copy-engine"),
        "uart": Node("guest-uart"),
    }


def test_what_is_named_goes_before_and_is_found_from_the_file(tmp_path: Path) -> None:
    text = 'node = "./mine.dtsi"\nregions = [65536, 4096]\ninterrupts = 2\n'
    mdev = f'[device.m]\nbus = "mdev"\nuuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"\n{text}'
    found = nodes_of(scenario(tmp_path, f"{RIG}{DEVICES}{text}{mdev}"))
    mine = Node(str(tmp_path / "mine.dtsi"), (65536, 4096), 2)
    assert found == {"engine": Node("guest-copy-engine"), "uart": mine, "m": mine}
    assert tree(scenario(tmp_path, RIG), QEMU, tmp_path) is None


def test_what_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    unknown = scenario(tmp_path, RIG + '[device.d]\nbus = "platform"\nhost = "7fc00000.copy-engine"\n')
    with pytest.raises(UserMistake, match=r"is to say of device\.d, .* as device\.d\.node"):
        nodes_of(unknown)


def test_a_guest_without_a_platform_bus_gets_no_such_device(tmp_path: Path) -> None:
    here = '[device.d]\nbus = "platform"\nhost = "x"\nnode = "./m.dtsi"\n[check.a]\nuse = "command"\ncommand = "x"\n'
    with pytest.raises(UserMistake, match=r'device\.d is for a guest.* "pc", which has none'):
        tree(scenario(tmp_path, here), QEMU, tmp_path)


def test_a_newer_qemu_is_a_missing_capability_and_none_is_chosen(tmp_path: Path) -> None:
    of = scenario(tmp_path, RIG + DEVICES)
    with pytest.raises(MissingCapability, match=r"QEMU 11.1.3 \(debian:trixie\) has no vfio-platform, .* up to 10.1"):
        tree(of, replace(QEMU, version="11.1.3", devices=frozenset()), tmp_path)
    assert needs_of(of) == ["vfio-platform"]
    named = scenario(tmp_path, RIG + DEVICES + '[guest]\nqemu = "debian:sid"\n')
    assert needs_of(named) == []
