# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema: it takes every scenario file that comes along, and refuses what loading refuses."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check import registry
from passthru.resources import directory
from passthru.scenario.loading import load, resolved
from passthru.scenario.schema import schema

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted(directory("guests").rglob("*.toml"))
SCHEMA = schema()
KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = {
    "$ref", "anyOf", "type", "properties", "required", "additionalProperties", "propertyNames", "items", "enum",
    "const", "pattern", "minLength", "minItems", "minimum", "maximum", "exclusiveMinimum",
    "$defs", "$schema", "title", "description", "default", "format",
}  # fmt: skip


def valid(value: Any, rule: dict[str, Any]) -> bool:
    """As much of JSON schema as the schema uses; an unknown keyword is an error."""
    assert rule.keys() <= KNOWN, rule.keys() - KNOWN
    if "$ref" in rule:
        return valid(value, SCHEMA["$defs"][rule["$ref"].rsplit("/", 1)[-1]])
    if "anyOf" in rule and not any(valid(value, choice) for choice in rule["anyOf"]):
        return False
    if "type" in rule and (
        not isinstance(value, KINDS[rule["type"]]) or (isinstance(value, bool) and rule["type"] != "boolean")
    ):
        return False
    if ("const" in rule and value != rule["const"]) or ("enum" in rule and value not in rule["enum"]):
        return False
    return _valid_parts(value, rule)


def _valid_parts(value: Any, rule: dict[str, Any]) -> bool:
    if isinstance(value, str):
        return len(value) >= rule.get("minLength", 0) and bool(re.search(rule.get("pattern", ""), value))
    if isinstance(value, list):
        return len(value) >= rule.get("minItems", 0) and all(valid(item, rule.get("items", {})) for item in value)
    if isinstance(value, dict):
        known = rule.get("properties", {})
        more = rule.get("additionalProperties", True)
        for key, inner in value.items():
            if not valid(key, rule.get("propertyNames", {})):
                return False
            if key in known:
                if not valid(inner, known[key]):
                    return False
            elif more is False or (isinstance(more, dict) and not valid(inner, more)):
                return False
        return all(key in value for key in rule.get("required", ()))
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = rule.get("minimum", value), rule.get("maximum", value)
        return bool(low <= value <= high and value > rule.get("exclusiveMinimum", value - 1))
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_that_comes_along_is_valid(path: Path) -> None:
    assert valid(tomllib.loads(path.read_text()), SCHEMA)


@pytest.mark.parametrize("path", [file for file in FILES if file.parent.name == "guests"], ids=lambda path: path.stem)
def test_a_resolved_scenario_is_valid(path: Path) -> None:
    assert valid(json.loads(json.dumps(resolved(load(path)))), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("summry",), "x"),
        (("summary",), 3),
        (("subject",), []),
        (("subject",), ["devise"]),
        (("deadline",), 0),
        (("host", "kind"), "rig"),
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
    tree = copy.deepcopy(resolved(load(directory("guests") / "mtty.toml")))
    assert valid(tree, SCHEMA)
    table = tree
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    assert not valid(tree, SCHEMA)


def test_each_check_and_each_model_has_its_definition_with_descriptions() -> None:
    definitions = SCHEMA["$defs"]
    assert {f"check-{name}" for name in registry.names()} | {"device-mtty", "guest", "host"} <= definitions.keys()
    keys = definitions["check-serial-loopback"]["properties"]
    assert keys["bytes"]["description"]
    assert keys["use"]["const"] == "serial-loopback"
    assert definitions["device-mtty"]["properties"]["ports"]["enum"] == [1, 2]
