# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of built images share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.guest.machine import Parts, find_parts
from tests.e2e.image.own_kernel import own_kernel

if TYPE_CHECKING:
    from passthru.image.kernel import Kernel


@pytest.fixture(scope="session")
def parts() -> Parts:
    """What guests are made of."""
    return find_parts()


@pytest.fixture(scope="session")
def own() -> Kernel:
    """The own kernel."""
    return own_kernel()
