# SPDX-License-Identifier: GPL-2.0-or-later
"""guests/README.md: what it shows is valid, and it shows every key of the tables that users write."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from passthru.check import registry
from passthru.resources import directory
from passthru.scenario.hosts import HardwareSpec, RigHost
from passthru.scenario.loading import load
from passthru.scenario.models import ServedDevice
from passthru.scenario.passed_through import MdevDevice, PciDevice
from passthru.scenario.schema import schema

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

TEXT = (directory("guests") / "README.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_what_it_shows_is_valid(block: str) -> None:
    Draft202012Validator(schema()).validate(tomllib.loads(block))


def test_its_rig_loads(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if "[host]" in block)
    (tmp_path / "s.toml").write_text(block)
    scenario = load(tmp_path / "s.toml")
    assert isinstance(scenario.host, RigHost)
    assert set(scenario.passed_through) == {"mtty0", "uart0", "vf0"}


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (RigHost, ("host",)),
        (HardwareSpec, ("host", "hardware")),
        (ServedDevice, ("device",)),
        (PciDevice, ("device",)),
        (MdevDevice, ("device",)),
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
