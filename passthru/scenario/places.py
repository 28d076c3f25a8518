# SPDX-License-Identifier: GPL-2.0-or-later
"""Relative paths in a scenario made absolute, so that it means the same from anywhere, its run directory included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from passthru.own_code import split_reference

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.scenario.files import KeyPath, Merged


def absolute(tree: dict[str, Any], merged: Merged) -> dict[str, Any]:
    """``tree`` with the paths of the user's models, checks, companions, modules and device-tree fragments absolute.

    What is of a wrong type stays.
    """
    made = dict(tree)
    if isinstance(host := tree.get("host"), dict):
        made["host"] = {**host, **_lists(host, merged)}
    for section, key in (("device", "model"), ("check", "use")):
        tables = tree.get(section)
        if isinstance(tables, dict):
            made[section] = {name: _table(table, (section, name), key, merged) for name, table in tables.items()}
    return made


def _lists(host: dict[str, Any], merged: Merged) -> dict[str, Any]:
    """The lists of a host in which what has a slash is a path."""
    return {
        key: tuple(_below(merged.directory(("host", key)), word) for word in words)
        for key in ("modules", "tree")
        if isinstance(words := host.get(key), tuple)
    }


def _below(directory: Path, word: Any) -> Any:
    return str(directory / word) if isinstance(word, str) and "/" in word else word


def _table(table: Any, path: KeyPath, key: str, merged: Merged) -> Any:
    if not isinstance(table, dict):
        return table
    made = dict(table)
    if isinstance(reference := table.get(key), str) and split_reference(reference):
        made[key] = str(merged.directory((*path, key)) / reference)
    if path[0] == "check" and table.get("use") == "host-command":
        if isinstance(program := table.get("program"), str) and program:
            made["program"] = str(merged.directory((*path, "program")) / program)
        if isinstance(files := table.get("files"), tuple):
            directory = merged.directory((*path, "files"))
            made["files"] = tuple(str(directory / each) if isinstance(each, str) and each else each for each in files)
    if path[0] == "check" and table.get("use") == "conform" and isinstance(stub := table.get("stub"), str) and stub:
        made["stub"] = str(merged.directory((*path, "stub")) / stub)
    if path[0] == "device" and "node" in table:
        made["node"] = _below(merged.directory((*path, "node")), table["node"])
    if path[0] == "device" and isinstance(companion := table.get("companion"), dict):
        made["companion"] = _companion(companion, (*path, "companion"), merged)
    return made


def _companion(companion: dict[str, Any], path: KeyPath, merged: Merged) -> dict[str, Any]:
    given = companion.get("directory")
    if given is not None and not isinstance(given, str):
        return companion
    # Its words may come from one file and its socket from another: each is relative to where it is written.
    words = merged.directory((*path, "command")) if "command" in companion else merged.directory(path)
    directory = merged.directory((*path, "directory")) / given if given is not None else words
    made = {**companion, "directory": str(directory)} if "command" in companion else dict(companion)
    if isinstance(socket := companion.get("socket"), str) and socket:
        made["socket"] = str((directory if given is not None else merged.directory((*path, "socket"))) / socket)
    return made
