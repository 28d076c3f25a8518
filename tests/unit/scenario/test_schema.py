# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema: it takes every scenario file that comes along, and refuses what loading refuses."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from passthru.check import registry
from passthru.resources import directory
from passthru.scenario.loading import load, resolved
from passthru.scenario.schema import schema

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted(directory("guests").rglob("*.toml"))
SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_that_comes_along_is_valid(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("path", [file for file in FILES if file.parent.name == "guests"], ids=lambda path: path.stem)
def test_a_resolved_scenario_is_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(json.dumps(resolved(load(path)))))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("summry",), "x"),
        (("summary",), 3),
        (("subject",), []),
        (("subject",), ["devise"]),
        (("deadline",), 0),
        (("host", "kind"), "rigg"),
        (("guest", "kernl"), "x"),
        (("guest", "cpus"), "1"),
        (("guest", "memory"), "256"),
        (("guest", "memory"), 256),
        (("guest", "accel"), "hvf"),
        (("device", "mtty0", "ports"), 3),
        (("device", "mtty0", "prots"), 1),
        (("device", "mtty0", "model"), "mty"),
        (("device", "mtty0", "address"), "00.0"),
        (("device", "a b"), {}),
        (("check", "loopback", "bytes"), 0),
        (("check", "loopback", "bytes"), 5000),
        (("check", "loopback", "burts"), 1),
        (("check", "loopback", "use"), "loopbak"),
        (("check", "loopback", "ports"), "some"),
        (("check", "lspci", "expect"), 3),
        (("check", "lspci", "bytes"), 3),
    ],
)
def test_the_schema_refuses_what_loading_refuses(path: tuple[str, ...], value: Any) -> None:
    tree = json.loads(json.dumps(resolved(load(directory("guests") / "mtty.toml"))))
    VALIDATOR.validate(tree)
    table = tree
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    assert not VALIDATOR.is_valid(tree)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_each_check_and_each_model_has_its_definition_with_descriptions() -> None:
    definitions = SCHEMA["$defs"]
    assert {f"check-{name}" for name in registry.names()} | {"device-mtty", "guest", "host"} <= definitions.keys()
    keys = definitions["check-serial-loopback"]["properties"]
    assert keys["bytes"]["description"]
    assert keys["use"]["const"] == "serial-loopback"
    assert definitions["device-mtty"]["properties"]["ports"]["enum"] == [1, 2]
