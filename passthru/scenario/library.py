# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding scenarios: by name, by file, or all of a directory. Listing them loads no more than a TOML parser."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from passthru.errors import ScenarioError
from passthru.resources import directory


def names() -> dict[str, str]:
    """The scenarios that come with passthru and their summaries, by name."""
    found = {}
    for path in sorted(directory("guests").glob("*.toml"), key=lambda path: path.stem):
        tree = _glance(path)
        if tree is None or _is_scenario(tree):
            summary = (tree or {}).get("summary", "")
            found[path.stem] = summary if isinstance(summary, str) else ""
    return found


def find(reference: str) -> tuple[Path, ...]:
    """The files behind a name, a path to a file, or a path to a directory of files (not of what lies below it).

    Raises ScenarioError where there is none.
    """
    library = directory("guests")
    try:
        if "/" not in reference and (library / f"{reference}.toml").is_file():
            return (library / f"{reference}.toml",)
        path = Path(reference)
        if path.is_dir():
            return _in_directory(path)
        if path.exists():
            return (path,)
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{_short(reference)}: cannot be read: {getattr(error, 'strerror', error)}") from error
    if "/" in reference or path.suffix in (".toml", ".json"):
        raise ScenarioError(f"{reference}: there is no such file")
    known = list(names())
    near = difflib.get_close_matches(reference, known, n=1)
    meant = f'did you mean "{near[0]}"? ' if near else ""
    raise ScenarioError(f"there is no scenario {_short(reference)}; {meant}there are: {', '.join(known) or 'none'}")


def _in_directory(path: Path) -> tuple[Path, ...]:
    # A file that cannot be read counts: loading it says why.
    found = [file for file in sorted(path.glob("*.toml")) if (tree := _glance(file)) is None or _is_scenario(tree)]
    if not found:
        raise ScenarioError(f"{path}: holds no scenario; a scenario is a file NAME.toml with [check.ID] tables")
    return tuple(found)


def _glance(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _is_scenario(tree: dict[str, Any]) -> bool:
    """Whether a file stands for itself; one without checks of its own or included is something else."""
    return "check" in tree or "include" in tree


def _short(text: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 80 else text[:77] + "..."
