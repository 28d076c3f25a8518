# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of a model: a frozen dataclass whose fields have a type and a default."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Mapping


def build_options(kind: type[Any], model: str, given: Mapping[str, object]) -> Any:
    """An instance of the Options class ``kind`` of ``model``; raises UserMistake for what it does not take.

    Types are bool, int, float, str and Literal.
    """
    types = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name, value in given.items():
        if name not in known:
            raise UserMistake(f"model {model} has no option {name!r}; it has {', '.join(known) or 'none'}")
        wanted = types[name]
        if get_origin(wanted) is Literal:
            choices = get_args(wanted)
            if not any(value == choice and type(value) is type(choice) for choice in choices):
                shown = " or ".join(repr(choice) for choice in choices)
                raise UserMistake(f"option {name} of model {model} is {value!r}; it can be {shown}")
        elif type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UserMistake(f"option {name} of model {model} is {value!r}; it must be of type {wanted.__name__}")
    return kind(**given)
