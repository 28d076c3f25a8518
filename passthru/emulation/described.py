# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process is told as one JSON object: frozen dataclasses, read key by key. What is wrong is named."""

from __future__ import annotations

import json
from dataclasses import fields
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable

    Described = TypeVar("Described")


def parse(kind: type[Described], text: str, what: str) -> Described:
    """The dataclass ``kind`` that ``text`` describes; raises UserMistake, naming the key that is wrong in ``what``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserMistake(f"{what} is no JSON: {error}") from error
    made: Described = _build(kind, value, what)
    return made


def _build(kind: type[Any], value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise UserMistake(f"{where} is {value!r}; it must be a JSON object")
    types = get_type_hints(kind)
    known = [part.name for part in fields(kind)]
    for name in value:
        if name not in known:
            raise UserMistake(f"{where} has no key {name!r}; it has {', '.join(known)}")
    given = {name: _convert(types[name], part, f"{name} of {where}") for name, part in value.items()}
    try:
        return kind(**given)
    except TypeError as error:
        lacking = [name for name in known if name not in given]
        raise UserMistake(f"{where} lacks a key; of {', '.join(lacking)} some are needed") from error


def _convert(wanted: Any, value: object, where: str) -> Any:
    choices = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    for choice in choices:
        if choice is type(None):
            if value is None:
                return None
        elif choice in (str, int):
            if type(value) is choice and not (choice is int and _negative(value)):
                return value
        elif convert := _CONTAINERS.get(get_origin(choice)):
            return convert(choice, value, where)
        elif value is not None:
            return _build(choice, value, where)
    shown = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise UserMistake(f"{where} is {value!r}; it must be {shown}, and not negative")


def _negative(value: object) -> bool:
    return isinstance(value, int) and value < 0


def _list(kind: Any, value: object, where: str) -> object:
    (element,) = get_args(kind)
    if not isinstance(value, list):
        raise UserMistake(f"{where} is {value!r}; it must be a list")
    return [_convert(element, part, f"element {number} of {where}") for number, part in enumerate(value)]


def _mapping(kind: Any, value: object, where: str) -> object:
    _, element = get_args(kind)
    if not isinstance(value, dict):
        raise UserMistake(f"{where} is {value!r}; it must be a JSON object")
    if element is object:
        return value
    return {name: _convert(element, part, f"{name} of {where}") for name, part in value.items()}


_CONTAINERS: dict[Any, Callable[[Any, object, str], object]] = {list: _list, dict: _mapping}
