# SPDX-License-Identifier: GPL-2.0-or-later
"""Which files of passthru a rig needs: those that its worker and its device servers import, now or later.

They are found by reading the import statements, wherever in a file they are; imports for type checkers only are left
out.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import passthru

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE = ("worker", "emulation", "vfio")
"""Packages that come whole: some of their modules are named in no import statement (device models)."""


@cache
def own_files() -> dict[str, bytes]:
    """Path below the directory that is to be on sys.path -> content; read once in this process."""
    home = Path(passthru.__path__[0])
    pending = [path for name in _WHOLE for path in sorted((home / name).rglob("*.py"))]
    pending += [home / "__init__.py"]
    found: dict[str, bytes] = {}
    while pending:
        path = pending.pop()
        name = str(path.relative_to(home.parent))
        if name in found:
            continue
        found[name] = path.read_bytes()
        for module in _imported(ast.parse(found[name])):
            pending += _places(home.parent, module)
    return dict(sorted(found.items()))


def _imported(tree: ast.AST) -> Iterator[str]:
    """What may be a module: of ``from a.b import c`` both a.b and a.b.c."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imported(node)


def _places(root: Path, module: str) -> Iterator[Path]:
    """The files of a module of ours and of the packages that it is in."""
    words = module.split(".")
    if words[0] != passthru.__name__:
        return
    for end in range(1, len(words) + 1):
        place = root.joinpath(*words[:end])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path
