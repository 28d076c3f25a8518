# SPDX-License-Identifier: GPL-2.0-or-later
"""From a file to a scenario: include, override, validate; all that is wrong is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError

from passthru.errors import ScenarioError
from passthru.scenario import overrides
from passthru.scenario.files import Merged, Source, read_with_includes
from passthru.scenario.validation import validated

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthru.scenario.models import Scenario


def load(path: Path, set_texts: Iterable[str] = ()) -> Scenario:
    """The scenario in ``path`` (TOML, or the JSON of a resolved one), with the ``--set`` texts applied.

    Raises ScenarioError; its message has one line for each thing that is wrong: file, line, key and a sentence.
    """
    given = overrides.parse_all(set_texts)
    try:
        merged = read_with_includes(path)
        _override(merged, given)
        return validated(merged)
    except RecursionError as error:
        raise ScenarioError(f"{path}: is nested too deeply for a scenario") from error


def of_tree(tree: dict[str, Any], place: str, set_texts: Iterable[str] = ()) -> Scenario:
    """The scenario of a tree of tables that stands in no file, with the ``--set`` texts applied.

    ``place`` is what errors name as where it stands. Raises ScenarioError, as ``load``.
    """
    given = overrides.parse_all(set_texts)
    source = Source(Path(place), "", tree)
    merged = Merged({}, source)
    merged.take(tree, source)
    _override(merged, given)
    return validated(merged)


def resolved(scenario: Scenario) -> dict[str, Any]:
    """The scenario as JSON values; from a ``.json`` file ``load`` reads it again."""
    try:
        return scenario.model_dump(mode="json")
    except PydanticSerializationError as error:
        # An interruption within one of our serializers comes out as that.
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _override(merged: Merged, given: Iterable[overrides.Override]) -> None:
    wrong = []
    for override in given:
        try:
            overrides.apply(override, merged.tree)
        except ScenarioError as error:
            wrong.append(str(error))
            continue
        merged.origins[override.path] = override
        for length in range(1, len(override.path)):
            # A table that the override itself made, for want of one.
            merged.origins.setdefault(override.path[:length], override)
    if wrong:
        raise ScenarioError("\n".join(wrong))
