# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel document's texts, as the scenario ``mtty`` holds them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from passthru.resources import directory


def _tuples(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _tuples(value) for key, value in node.items() if key != "use"}
    return tuple(map(_tuples, node)) if isinstance(node, list) else node


@pytest.fixture(scope="session")
def document() -> dict[str, dict[str, Any]]:
    """The check tables of guests/checks/mtty.toml, by id, without ``use``."""
    text = (directory("guests") / "checks" / "mtty.toml").read_text()
    checks: dict[str, dict[str, Any]] = _tuples(tomllib.loads(text)["check"])
    return checks
