# SPDX-License-Identifier: GPL-2.0-or-later
"""guests/README.md: what it shows is valid, and it shows every key of the tables that users write."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from passthru.check import registry
from passthru.qemu.boards import VIRT
from passthru.qemu.fragments import known_fragments
from passthru.qemu.on_board import addresses
from passthru.resources import directory
from passthru.scenario.hosts import HardwareSpec, RigHost
from passthru.scenario.loading import load
from passthru.scenario.models import ServedDevice
from passthru.scenario.passed_through import AmbaDevice, FslMcDevice, MdevDevice, PciDevice, PlatformDevice
from passthru.scenario.schema import schema
from tests.unit.scenario.test_errors import CHECK

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from passthru.scenario.models import Scenario

TEXT = (directory("guests") / "README.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_it_shows_is_valid(block: str) -> None:
    Draft202012Validator(schema()).validate(tomllib.loads(block))


def test_its_rig_loads(tmp_path: Path) -> None:
    scenario = _rig(tmp_path, "amd64")
    assert set(scenario.passed_through) == {"mtty0", "uart0", "vf0"}


def test_its_rig_of_arm64_loads(tmp_path: Path) -> None:
    host = _rig(tmp_path, "arm64").host
    assert isinstance(host, RigHost)
    assert set(host.seats) == {"copier", "complex"}
    shown = dict(re.findall(r'^(?:device|model) = "([a-z0-9-]+)" .*?([0-9a-f]{7,}\.[a-z0-9-]+)', TEXT, re.MULTILINE))
    known = {piece.what: piece.name for piece in host.on_board}
    assert {what: addresses(host.on_board, host.seats)[known[what]] for what in shown} == shown
    assert set(shown) == {"pl031", "pl011", "copy-engine"}


def test_it_names_every_fragment() -> None:
    (named,) = re.findall(r"By name there are (.*?) \(images/trees\)", TEXT, re.DOTALL)
    assert set(re.findall(r"`([a-z-]+)`", named)) == set(known_fragments())


def test_it_names_every_iommu_of_arm64() -> None:
    assert re.findall(r'^- `iommu = "([a-z0-9-]+)"`', TEXT, re.MULTILINE) == list(VIRT.iommus)


def _rig(tmp_path: Path, arch: str) -> Scenario:
    (block,) = (block for block in BLOCKS if "[host]" in block and f'arch = "{arch}"' in block)
    (tmp_path / "s.toml").write_text(block if "[device." in block else f"{block}\n{CHECK}")
    return load(tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (RigHost, ("host",)),
        (HardwareSpec, ("host", "hardware")),
        (ServedDevice, ("device",)),
        (PciDevice, ("device",)),
        (MdevDevice, ("device",)),
        (PlatformDevice, ("device",)),
        (AmbaDevice, ("device",)),
        (FslMcDevice, ("device",)),
    ],
)
def test_it_shows_every_key(table: type[BaseModel], keys: tuple[str, ...]) -> None:
    shown: set[str] = set()
    for block in BLOCKS:
        found: Any = tomllib.loads(block)
        for key in keys:
            found = found.get(key, {})
        shown |= set(found).union(*(set(inner) for inner in found.values() if isinstance(inner, dict)))
    assert table.model_fields.keys() <= shown


def test_it_names_every_check() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE)) == set(registry.names())
