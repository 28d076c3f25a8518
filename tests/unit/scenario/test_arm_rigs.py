# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios whose rig is of arm64: its IOMMUs, its hardware on the board, its device tree, its guest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest
from jsonschema import Draft202012Validator

from passthru.qemu.boards import BOARDS
from passthru.qemu.on_board import MODELS, OnBoard
from passthru.scenario.hosts import HardwareSpec, RigHost
from passthru.scenario.loading import load, resolved
from passthru.scenario.schema import schema
from tests.unit.scenario.test_errors import CHECK, told

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.scenario.models import Scenario

ARM = '[host]\nkind = "rig"\narch = "arm64"\n'  # lines 1 to 3
RAM = ARM + 'iommu = "ram-smmuv2"\n'
CLOCK = '[host.hardware.clock]\ndevice = "pl031"\n'
COPY = '[host.hardware.copy]\nmodel = "copy-engine"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.toml"


def loaded(path: Path, text: str, *overrides: str) -> Scenario:
    path.write_text(text + CHECK)
    return load(path, overrides)


def host_of(scenario: Scenario) -> RigHost:
    assert isinstance(scenario.host, RigHost)
    return scenario.host


def test_it_has_defaults_of_its_own(path: Path) -> None:
    scenario = loaded(path, ARM)
    host = host_of(scenario)
    assert (host.arch, host.kernel, host.iommu, host.tree) == ("arm64", "debian:bookworm", "smmuv3", ())
    assert (scenario.guest.machine, scenario.guest_arch, scenario.rig_arch) == ("virt", "arm64", "arm64")
    other = loaded(path, '[host]\nkind = "rig"\n')
    assert (host_of(other).arch, host_of(other).iommu, other.guest.machine) == ("amd64", "intel", "pc")
    assert (other.guest_arch, other.rig_arch) == ("amd64", "amd64")
    local = loaded(path, "")
    assert (local.guest.machine, local.guest_arch, local.rig_arch) == ("pc", "amd64", "")
    assert loaded(path, ARM + '[guest]\nmemory = "1G"\n').guest.machine == "virt"


def test_the_architecture_can_be_overridden(path: Path) -> None:
    scenario = loaded(path, '[host]\nkind = "rig"\n', "host.arch=arm64")
    assert (host_of(scenario).iommu, scenario.guest.machine) == ("smmuv3", "virt")


def test_hardware_is_on_pci_or_on_the_board(path: Path) -> None:
    text = RAM + CLOCK + 'place = "platform"\n' + COPY + 'options = { defect = "none" }\n'
    text += '[host.hardware.edu0]\ndevice = "edu"\n[host.hardware.mc]\nmodel = "management-complex"\n'
    host = host_of(loaded(path, text))
    assert [piece.name for piece in host.pieces] == ["edu0"]
    assert host.on_board == (
        OnBoard("clock", "pl031", "platform", {}),
        OnBoard("copy", "copy-engine", "", {"defect": "none"}),
        OnBoard("mc", "management-complex", "", {}),
    )
    assert set(host.seats) == {"copy", "mc"}


def test_fragments_of_the_users_are_relative_to_the_scenario(path: Path) -> None:
    host = host_of(loaded(path, ARM + 'tree = ["rtc", "./mine.dtsi"]\n'))
    assert host.tree == ("rtc", str(path.parent / "mine.dtsi"))


def test_a_resolved_one_is_valid_and_the_same(path: Path) -> None:
    scenario = loaded(path, RAM + 'tree = ["rtc"]\n' + CLOCK + COPY)
    file = path.with_suffix(".json")
    file.write_text(json.dumps(resolved(scenario)))
    assert load(file) == scenario
    Draft202012Validator(schema()).validate(json.loads(file.read_text()))


def test_the_keys_know_what_there_is() -> None:
    iommus = {name for board in BOARDS.values() for name in board.iommus}
    assert set(get_args(RigHost.model_fields["iommu"].annotation)) == iommus
    assert set(get_args(RigHost.model_fields["arch"].annotation)) == BOARDS.keys()
    models = next(part for part in get_args(HardwareSpec.model_fields["model"].annotation) if get_args(part))
    assert set(get_args(models)) == set(MODELS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[host]\nkind = "rig"\narch = "arm"\n', "s.toml:3: host.arch: should be 'amd64' or 'arm64', not \"arm\""),
        (ARM + 'iommu = "intel"\n', 's.toml:4: host.iommu: is "intel", which no rig of arm64 has; there are: smmuv3'),
        ('[host]\nkind = "rig"\niommu = "smmuv3"\n', 's.toml:3: host.iommu: is "smmuv3", which no rig of amd64 has;'),
        (ARM + '[guest]\nmachine = "pc"\n', 's.toml:5: guest.machine: is "pc", and a guest on a rig of arm64 is vir'),
        ('[guest]\nmachine = "virt"\n', 's.toml:2: guest.machine: is "virt", and a guest on this machine is pc or q'),
        (ARM + 'tree = ["rct"]\n', 's.toml:4: host.tree[0]: there is no device-tree fragment "rct"; did you mean "r'),
        (ARM + 'tree = ["copy-engine"]\n', "s.toml:4: host.tree[0]: there is no device-tree fragment"),
        ('[host]\nkind = "rig"\ntree = ["rtc"]\n', "s.toml:3: host.tree: is for a rig with a device tree, and amd64"),
        ('[host]\nkind = "rig"\n' + CLOCK, 's.toml:4: host.hardware.clock.device: is "pl031", which only a rig has '),
        (ARM + COPY, 's.toml:5: host.hardware.copy.model: is "copy-engine", which needs host.iommu = "ram-smmuv2"'),
        (ARM + 'iommu = "none"\n' + CLOCK, 's.toml:6: host.hardware.clock.device: is "pl031", which needs an IOMMU'),
        (RAM + 'memory = "512M"\n', 's.toml:5: host.memory: is too little for "ram-smmuv2"; give it "1024M" at leas'),
        (RAM + COPY + 'device = "edu"\n', "s.toml:5: host.hardware.copy: needs \"device\" (QEMU's name of one) or"),
        (RAM + COPY + "options = { defekt = 1 }\n", "s.toml:7: host.hardware.copy.options: model copy-engine has no"),
        (RAM + COPY + "slot = '05'\n", 's.toml:5: host.hardware.copy: has "slot", which is for PCI devices, and cop'),
        (RAM + COPY + "place = 'amba'\n", 's.toml:5: host.hardware.copy: has the place "amba", where no copy-engine'),
        (ARM + CLOCK + "place = 'root'\n", 's.toml:4: host.hardware.clock: has the place "root", where no pl031 is;'),
        (ARM + CLOCK + "options = { a = 1 }\n", 's.toml:4: host.hardware.clock: has "options", which are for a "mod'),
        (ARM + CLOCK.replace("pl031", "edu") + "place = 'amba'\n", "s.toml:4: host.hardware.clock: has the place"),
        (RAM + COPY.replace("copy-engine", "mtty"), "s.toml:6: host.hardware.copy.model: should be"),
        (
            ARM + CLOCK + '[device.a]\nbus = "pci"\nhost = "clock"\n',
            's.toml:8: device.a.host: is "clock", which is no PCI device',
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_line_and_key(path: Path, text: str, said: str) -> None:
    (line,) = told(path, text + CHECK)
    assert line.startswith(said)
