# SPDX-License-Identifier: GPL-2.0-or-later
"""The docstrings below a table's keys, for the schema. (Pydantic would read them at every start, which takes 40 ms.)"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def descriptions(table: type[BaseModel]) -> dict[str, str]:
    """Key -> docstring, of the table and of those that it derives from."""
    found: dict[str, str] = {}
    for kind in reversed(table.__mro__):
        try:
            source = inspect.getsource(kind)
        except (OSError, TypeError):  # made at run time, or built in
            continue
        (definition,) = ast.parse(textwrap.dedent(source)).body
        if isinstance(definition, ast.ClassDef):
            found |= _below_keys(definition.body)
    return found


def _below_keys(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for key, below in itertools.pairwise(body):
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[key.target.id] = inspect.cleandoc(text.value)
    return found
