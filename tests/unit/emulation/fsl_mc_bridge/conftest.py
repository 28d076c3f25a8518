# SPDX-License-Identifier: GPL-2.0-or-later
"""A host and its guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.emulation.fsl_mc_bridge.made_host import MadeGuest, MadeHost

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def host(nothing_stays_open: None) -> Iterator[MadeHost]:
    """Its dprc.2 has dpni.0, dpbp.1, dpmcp.2, dpio.0 and dpcon.0."""
    made = MadeHost()
    yield made
    made.close()


@pytest.fixture
def guest(host: MadeHost) -> Iterator[MadeGuest]:
    """It has not begun."""
    made = MadeGuest(host)
    yield made
    made.close()
