# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices with a client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models.mtty import Mtty
from tests.unit.emulation.client import Client, open_descriptors, serving
from tests.unit.emulation.scratch_model import ScratchModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """No descriptor outlives the test, neither the client's nor the server's."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def new_eventfd(nothing_stays_open: None) -> Iterator[Callable[[], int]]:
    """Makes eventfds, closed at the end."""
    made: list[int] = []

    def new() -> int:
        made.append(os.eventfd(0, os.EFD_CLOEXEC))
        return made[-1]

    yield new
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture
def model(nothing_stays_open: None) -> Iterator[ScratchModel]:
    """The device that can do everything."""
    made = ScratchModel()
    yield made
    made.close()


@pytest.fixture
def fresh(model: ScratchModel) -> Iterator[Client]:
    """A client of `model` that has said nothing yet."""
    with serving(model) as client:
        yield client


@pytest.fixture
def client(fresh: Client) -> Client:
    """A client of `model`."""
    fresh.version()
    return fresh


@pytest.fixture
def mtty(nothing_stays_open: None) -> Iterator[Client]:
    """A client of a faithful mtty with two ports."""
    with serving(Mtty(Mtty.Options())) as client:
        client.version()
        yield client
