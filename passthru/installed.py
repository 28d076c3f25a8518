# SPDX-License-Identifier: GPL-2.0-or-later
"""What installed packages add, by entry points: models in the group ``passthru.models``, checks in ``passthru.checks``.

Looked up only for names that passthru does not have itself, since that reads the metadata of every package.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from passthru.own_code import OwnCodeError, sentence

MODELS = "passthru.models"
CHECKS = "passthru.checks"


@cache
def names(group: str) -> tuple[str, ...]:
    """The names in a group."""
    return tuple(sorted(entry_points(group=group).names))


def find(group: str, name: str) -> EntryPoint | None:
    """The entry point of that name; the first one where several packages have it."""
    return next(iter(entry_points(group=group, name=name)), None)


def load(point: EntryPoint) -> tuple[Any, Path]:
    """What an entry point names, and the directory or file of its top package. Raises OwnCodeError, naming its line."""
    package = point.dist.name if point.dist else "a package"
    told = f"the entry point {point.name} of {package} ({point.value})"
    place = Path("/")
    try:
        place = _place(point.module.partition(".")[0])
        return point.load(), place
    except (Exception, SystemExit) as error:
        said = sentence(error, str(place), otherwise=point.module)
        raise OwnCodeError(f"{told} cannot be loaded: {said}") from error


def _place(top: str) -> Path:
    """Where a top package or module is."""
    spec = find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {top!r}")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(str(spec.origin))
