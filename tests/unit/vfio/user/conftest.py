# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices behind the real server, opened by our client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models.dma_engine import DmaEngine
from passthru.emulation.models.mtty import Mtty
from passthru.vfio.buffer import Buffer
from tests.unit.emulation.client import open_descriptors
from tests.unit.emulation.scratch_model import ScratchModel
from tests.unit.vfio.user.servers import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.vfio.user.target import UserOpened


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
        made.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        return made[-1]

    yield new
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture
def new_buffer(nothing_stays_open: None) -> Iterator[Callable[[int], Buffer]]:
    """Makes buffers, closed at the end."""
    made: list[Buffer] = []

    def new(size: int) -> Buffer:
        made.append(Buffer(size))
        return made[-1]

    yield new
    for buffer in made:
        buffer.close()


@pytest.fixture
def mtty(nothing_stays_open: None) -> Iterator[UserOpened]:
    """A faithful mtty with two ports."""
    with opened(Mtty(Mtty.Options())) as made:
        yield made


@pytest.fixture
def engine_model(nothing_stays_open: None) -> Iterator[DmaEngine]:
    """The model behind `engine`."""
    made = DmaEngine(DmaEngine.Options())
    yield made
    made.close()


@pytest.fixture
def engine(engine_model: DmaEngine) -> Iterator[UserOpened]:
    """A DMA engine."""
    with opened(engine_model) as made:
        yield made


@pytest.fixture
def scratch_model(nothing_stays_open: None) -> Iterator[ScratchModel]:
    """The model behind `scratch`."""
    made = ScratchModel()
    yield made
    made.close()


@pytest.fixture
def scratch(scratch_model: ScratchModel) -> Iterator[UserOpened]:
    """The device that can do everything."""
    with opened(scratch_model) as made:
        yield made
