# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the image room share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.image.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.events import Event


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty cache."""
    made = Store(tmp_path / "cache")
    yield made
    made.close()


class Told(list["Event"]):
    """A teller that keeps what it is told."""

    def __call__(self, event: Event) -> None:
        self.append(event)


@pytest.fixture
def told() -> Told:
    """All events that were told."""
    return Told()
