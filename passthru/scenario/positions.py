# SPDX-License-Identifier: GPL-2.0-or-later
"""In which line of a TOML file a key is. Only asked for when something is wrong with that key.

The standard parser keeps no positions, so growing beginnings of the file are parsed: the first one that has the key
ends with the statement that makes it, and that statement begins after the last beginning that could be parsed before.
"""

from __future__ import annotations

import contextlib
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = tuple[str | int, ...]

_MOST_LINES = 2000
"""The time grows with the square of the lines; a longer file is told without line numbers."""


def lines_of_keys(text: str) -> dict[Path, int]:
    """The line (from 1) in which each key or table of a TOML document begins; paths as in ``("check", "a", "use")``."""
    found: dict[Path, int] = {}
    begin = 1
    for end, tree in _beginnings(text):
        for path in _paths(tree):
            found.setdefault(path, begin)
        begin = end + 1
    return found


def unfinished_line(text: str) -> int:
    """The line in which the statement begins that the end of a TOML document cuts off."""
    return max((end for end, _ in _beginnings(text)), default=0) + 1


def _beginnings(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The last line of each beginning of the document that can be parsed, and what it holds."""
    lines = [f"{line}\n" for line in text.split("\n")]  # splitlines() also ends lines where TOML does not
    if len(lines) > _MOST_LINES:
        return
    document = ""
    for number, line in enumerate(lines, 1):
        document += line
        with contextlib.suppress(tomllib.TOMLDecodeError):
            yield number, tomllib.loads(document)


def _paths(node: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, (*path, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _paths(value, (*path, index))
