# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of built images share."""

from __future__ import annotations

import pytest

from tests.e2e.guest.machine import Parts, find_parts


@pytest.fixture(scope="session")
def parts() -> Parts:
    """What guests are made of."""
    return find_parts()
