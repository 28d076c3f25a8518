# SPDX-License-Identifier: GPL-2.0-or-later
"""``--set key.path=value``: one key of a scenario, overridden on the command line.

The key is written as in TOML. So is the value, and a word that is no TOML value is a string: ``kernel=debian:trixie``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from passthru.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEGINS_A_TOML_VALUE = ("[", "{", '"', "'")


@dataclass(frozen=True)
class Override:
    """One ``--set`` (or another ``option``): the key's parts and the value; ``text`` is how the user wrote it."""

    text: str
    path: tuple[str, ...]
    value: Any
    option: str = "--set"


def parse(text: str, option: str = "--set") -> Override:
    """Read one ``--set`` text; raises ScenarioError, which shows the text."""
    key, separator, value = _split(text)
    if not separator or not key.strip():
        example = "device.mtty0.ports=1" if option == "--set" else "ports=1"
        raise ScenarioError(f"{option} {text}: should be KEY=VALUE, such as {example}")
    said = f"{option} {text}"
    return Override(text, _path(key, said), _value(value.strip(), said), option)


def parse_all(texts: Iterable[str], option: str = "--set") -> tuple[Override, ...]:
    """Read all ``--set`` texts; raises one ScenarioError with a line for each that is wrong."""
    overrides, wrong = [], []
    for text in texts:
        try:
            overrides.append(parse(text, option))
        except ScenarioError as error:
            wrong.append(str(error))
    if wrong:
        raise ScenarioError("\n".join(wrong))
    return tuple(overrides)


def parse_assignments(texts: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """``KEY=VALUE`` texts of an ``option`` as one tree of tables; raises ScenarioError."""
    tree: dict[str, Any] = {}
    for override in parse_all(texts, option):
        apply(override, tree)
    return tree


def apply(override: Override, tree: dict[str, Any]) -> None:
    """Put one override into ``tree``, making tables on the way; raises ScenarioError where a value is in the way."""
    table = tree
    for depth, part in enumerate(override.path[:-1], 1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            inner = ".".join(override.path[:depth])
            raise ScenarioError(
                f"{override.option} {override.text}: {inner} is a value, not a table, so nothing can be set in it"
            )
    table[override.path[-1]] = override.value


def _split(text: str) -> tuple[str, str, str]:
    # The first "=" outside of a quoted key.
    quote = ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "=":
            return text[:position], "=", text[position + 1 :]
    return text, "", ""


def _path(key: str, said: str) -> tuple[str, ...]:
    try:
        if "\n" in key:
            raise ValueError(key)
        node: Any = tomllib.loads(f"{key} = 0")
    except ValueError as error:
        raise ScenarioError(f'{said}: "{key}" is no key; write key.key.key, and quote what is no word') from error
    path = []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        path.append(part)
    return tuple(path)


def _value(value: str, said: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
        if set(parsed) == {"value"}:
            return parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if value.startswith(_BEGINS_A_TOML_VALUE):
            raise ScenarioError(f"{said}: the value is no valid TOML: {error}") from error
    if not value:
        raise ScenarioError(f'{said}: has no value; write "" for an empty string')
    return value
