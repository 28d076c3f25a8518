# SPDX-License-Identifier: GPL-2.0-or-later
"""What the own kernel is built from and with: images/kernel/ARCH.toml and ARCH.config."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable, UserMistake
from passthru.image.kconfig import read_fragment
from passthru.resources import directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPEC = "own"
"""How a user names the kernel."""
_SHAPE: Mapping[str, Mapping[str, type]] = {
    "source": {"suite": str, "package": str},
    "tools": {"suite": str, "gcc": int, "packages": list},
    "unpack": {"without": list, "except": list},
    "expect": {"files": int, "processor_seconds": int},
}


@dataclass(frozen=True)
class OwnRecipe:
    """How the kernel is made.

    ``config`` maps options without ``CONFIG_`` to values, ``n`` among them; all others are off; ``renamed`` maps some
    of them to what later kernels call them. Of ``without`` only makefiles and Kconfigs are unpacked, except below
    ``kept``. ``files`` and ``seconds`` (of one processor) are what a build took when it was measured. ``identity``
    changes with what would be built.
    """

    arch: str
    suite: str
    package: str
    tools_suite: str
    gcc: int
    tools: tuple[str, ...]
    without: tuple[str, ...]
    kept: tuple[str, ...]
    files: int
    seconds: int
    config: Mapping[str, str] = field(repr=False)
    identity: str
    renamed: Mapping[str, str] = field(default_factory=dict)


def load(arch: str, home: Path | None = None) -> OwnRecipe:
    """The recipe for an architecture, of this installation or from ``home``. Raises Unusable, UserMistake."""
    home = home or directory("images") / "kernel"
    path = home / f"{arch}.toml"
    options = home / f"{arch}.config"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in home.glob("*.toml"))) or "none"
        raise Unusable(
            f"there is no own kernel for {arch}: {home} describes {known}; name debian:SUITE or a build tree instead"
        )
    try:
        told = tomllib.loads(path.read_text())
        config = read_fragment(options.read_text().splitlines(), str(options))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserMistake(f"the description of the own kernel in {home} cannot be read: {error}") from error
    source, tools, unpack, expect = (_table(path, told, name) for name in _SHAPE)
    lines = [source["suite"], source["package"], tools["suite"], *tools["packages"], *config_lines(config)]
    return OwnRecipe(
        arch=arch,
        suite=source["suite"],
        package=source["package"],
        tools_suite=tools["suite"],
        gcc=tools["gcc"],
        tools=tuple(tools["packages"]),
        without=tuple(unpack["without"]),
        kept=tuple(unpack["except"]),
        files=expect["files"],
        seconds=expect["processor_seconds"],
        config=config,
        identity=hashlib.sha256("\0".join(lines).encode()).hexdigest(),
        renamed=_names(path, told),
    )


def config_lines(config: Mapping[str, str]) -> list[str]:
    """A configuration as kconfig reads it."""
    return [f"CONFIG_{name}={value}" for name, value in sorted(config.items())]


def _names(path: Path, told: Mapping[str, Any]) -> dict[str, str]:
    renamed = told.get("renamed", {})
    if not isinstance(renamed, dict) or not all(isinstance(name, str) for name in renamed.values()):
        raise UserMistake(f'{path}: [renamed] is not a table of names, such as PROC_SYSCTL = "SYSCTL"')
    return renamed


def _table(path: Path, told: Mapping[str, Any], name: str) -> dict[str, Any]:
    shape = _SHAPE[name]
    table = told.get(name)
    if not isinstance(table, dict) or table.keys() != shape.keys():
        raise UserMistake(f"{path}: [{name}] is not a table of {', '.join(shape)}")
    for key, kind in shape.items():
        value = table[key]
        good = isinstance(value, kind)
        if isinstance(value, list):
            good = good and all(isinstance(item, str) for item in value)
        if not good:
            words = {str: "a string", int: "a number", list: "a list of strings"}
            raise UserMistake(f"{path}: {name}.{key} is not {words[kind]}")
    return table
