# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a scenario, as sentences: pydantic's errors in the words of someone who wrote a TOML file."""

from __future__ import annotations

import difflib
import json
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from passthru.scenario.files import KeyPath, Merged

_WORDINGS = {
    "Value error, ": "",
    "Input should": "should",
    "a valid tuple": "a list",
    "a valid dictionary": "a table",
    "a valid integer": "an integer",
    "a valid ": "a ",
}
_LONGEST_VALUE = 60
"""Characters of a wrong value that a sentence shows."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, at the key ``path``."""

    path: KeyPath
    text: str

    def sentence(self, merged: Merged) -> str:
        """The problem with its place: ``FILE:LINE: KEY: what is wrong``."""
        key = f"{dotted(self.path)}: " if self.path else ""
        return f"{merged.place(self.path)}: {key}{self.text}"


def dotted(path: KeyPath) -> str:
    """A key as it is written: ``check.loopback.bytes``, ``variant[0].when``."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
        else:
            word = part if part.replace("-", "").replace("_", "").isalnum() and part.isascii() else json.dumps(part)
            written += f".{word}" if written else word
    return written


def choice(name: object, known: Iterable[str], what: str) -> str:
    """The sentence for a name that is not among the ``known`` ones, with the nearest and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    meant = f'did you mean "{near[0]}"? ' if near else ""
    return f"there is no {what} {_shown(name)}; {meant}there are: {', '.join(names) or 'none'}"


def from_pydantic(error: ValidationError, model: type[BaseModel], table: Any, path: KeyPath) -> Iterator[Problem]:
    """The problems in ``table``, which sits at ``path`` and was to become a ``model``; one for each key."""
    texts: dict[KeyPath, list[str]] = {}
    values: dict[KeyPath, Any] = {}
    entries = error.errors(include_url=False)
    for entry in entries:
        where = _in_tree(entry["loc"], table)
        kind = entry["type"]
        if kind == "too_short":
            # A list whose elements are all wrong is told to be too short as well.
            if any(other is not entry and other["loc"][: len(entry["loc"])] == entry["loc"] for other in entries):
                continue
            text = "should not be empty"
        elif kind == "missing":
            name = entry["loc"][-1]
            where = (*where, name)
            text = "is missing"
        elif kind == "extra_forbidden":
            known = _keys(model, where[:-1])
            near = difflib.get_close_matches(str(where[-1]), known, n=1)
            meant = f'did you mean "{near[0]}"?' if near else f"known keys are {', '.join(known)}"
            text = f"is no known key; {meant}"
        else:
            values[where] = entry["input"]
            text = _reworded(entry["msg"])
        texts.setdefault(where, []).append(text)
    for where, said in texts.items():
        # A value that may be of several types has an error for each.
        text = " or ".join([said[0], *(other.removeprefix("should be ") for other in said[1:])])
        if where in values and isinstance(values[where], str | int | float | bool | tuple | dict) and where:
            text += f", not {_shown(values[where])}" if text.startswith("should ") else f" ({_shown(values[where])})"
        yield Problem((*path, *where), text)


def _reworded(message: str) -> str:
    for wording, ours in _WORDINGS.items():
        message = message.replace(wording, ours, 1)
    return message[:1].lower() + message[1:]


def _in_tree(location: tuple[int | str, ...], table: Any) -> KeyPath:
    """The part of a pydantic location that is a path in the table; tags of unions and the like fall out."""
    path: list[str | int] = []
    node = table
    for part in location:
        if (isinstance(node, dict) and part in node) or (
            isinstance(node, tuple) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]  # type: ignore[index]
            path.append(part)
    return tuple(path)


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The known keys of the table at ``path`` below a model."""
    inner: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, str) and inner is not None:
            field = inner.model_fields.get(part)
            inner = _model_in(field.annotation) if field else None
    return sorted(inner.model_fields) if inner else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
