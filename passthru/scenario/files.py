# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading scenario files: the file, the parts it includes, and where each key came from."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import ScenarioError
from passthru.scenario.positions import lines_of_keys, unfinished_line

if TYPE_CHECKING:
    from passthru.scenario.overrides import Override

_LARGEST = 1 << 20
"""Bytes; no scenario comes near, but a disk image named by mistake does not fill the memory."""
_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """One file: ``tree`` is what it says."""

    path: Path
    text: str
    tree: dict[str, Any]

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return {} if self.path.suffix == ".json" else lines_of_keys(self.text)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the innermost table around it; 0 where it is not known."""
        known = (self._lines.get(path[:length]) for length in range(len(path), 0, -1))
        return next((line for line in known if line), 0)

    def place(self, path: KeyPath) -> str:
        """File and line of a key, or of the innermost table around it."""
        line = self.line(path)
        return f"{self.path}:{line}" if line else str(self.path)


@dataclass
class Merged:
    """The merged tree, and for each key the file or the override that it came from."""

    tree: dict[str, Any]
    main: Source
    origins: dict[KeyPath, Source | Override] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Where the user finds a key that is wrong: ``FILE:LINE`` or ``--set TEXT``."""
        origin = self._origin(path)
        return origin.place(path) if isinstance(origin, Source) else f"--set {origin.text}"

    def directory(self, path: KeyPath) -> Path:
        """Where relative paths in the value of a key begin: its file's directory; for ``--set`` the current one."""
        origin = self._origin(path)
        return (origin.path.parent if isinstance(origin, Source) else Path()).absolute()

    def order(self, path: KeyPath) -> tuple[bool, str, int]:
        """A sort key that puts problems into the order in which a reader meets them: file, line; overrides last."""
        origin = self._origin(path)
        if isinstance(origin, Source):
            return (False, str(origin.path), origin.line(path))
        return (True, origin.text, 0)

    def _origin(self, path: KeyPath) -> Source | Override:
        known = (self.origins.get(path[:length]) for length in range(len(path), 0, -1))
        return next((origin for origin in known if origin is not None), self.main)

    def take(self, tree: dict[str, Any], origin: Source | Override) -> None:
        """Merge ``tree`` over what is there: tables key by key, everything else replaces."""
        self._merge(self.tree, tree, (), origin)

    def _merge(self, into: dict[str, Any], tree: dict[str, Any], path: KeyPath, origin: Source | Override) -> None:
        for key, value in tree.items():
            here = (*path, key)
            self.origins[here] = origin
            if isinstance(value, dict):
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                self._merge(into[key], value, here, origin)
            else:
                into[key] = value


def read(path: Path) -> Source:
    """Read one TOML file (or the JSON of a resolved scenario); raises ScenarioError naming file, line and column."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ScenarioError(f"{path}: is no regular file; a scenario is a TOML file")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise ScenarioError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(f"{path}: cannot be read: {reason}") from error
    if len(data) > _LARGEST:
        raise ScenarioError(f"{path}: is larger than {_LARGEST >> 10} KiB; a scenario is a TOML file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScenarioError(
            f"{path}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x}); a scenario is a TOML file"
        ) from error
    return Source(path, text, _parsed(path, text))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        tree: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _AT.search(str(error))
        said = str(error)[: match.start()] if match else str(error)
        if match and match["line"]:
            place = f"{path}:{match['line']}:{match['column']}"
        else:
            place = f"{path}:{unfinished_line(text)}"
            said += ", and the file ends"
        raise ScenarioError(f"{place}: is no valid TOML: {said[:1].lower()}{said[1:]}") from error
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{path}:{error.lineno}:{error.colno}: is no valid JSON: {error.msg}") from error
    if not isinstance(tree, dict):
        raise ScenarioError(f"{path}: holds no table; a resolved scenario is a JSON object")
    return tree


def read_with_includes(path: Path) -> Merged:
    """Read a file and all it includes, merged: included parts first, in their order, the file itself over them.

    Raises ScenarioError for a file that is missing, unreadable or empty, and for parts that include each other.
    """
    main = read(path)
    if not main.tree:
        raise ScenarioError(f"{path}: is empty; a scenario has [device.ID] and [check.ID] tables")
    merged = Merged({}, main)
    _take_with_includes(merged, main, (path.resolve(),))
    return merged


def _take_with_includes(merged: Merged, source: Source, chain: tuple[Path, ...]) -> None:
    own = dict(source.tree)
    included = own.pop("include", [])
    place = source.place(("include",))
    if not isinstance(included, list) or not all(isinstance(part, str) and part for part in included):
        raise ScenarioError(f"{place}: include: should be a list of file names")
    for name in included:
        path = source.path.parent / name
        try:
            resolved = path.resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise ScenarioError(f'{place}: include: "{name}" is no file name') from error
        if resolved in chain:
            ring = " -> ".join(part.name for part in (*chain[chain.index(resolved) :], resolved))
            raise ScenarioError(f"{place}: include: files include each other: {ring}")
        try:
            part = read(path)
        except ScenarioError as error:
            if path.is_file():
                raise
            raise ScenarioError(f"{place}: include: {error}") from error
        _take_with_includes(merged, part, (*chain, resolved))
    merged.take(own, source)
