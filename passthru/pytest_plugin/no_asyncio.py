# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands for the fixtures where pytest-asyncio is missing: a sentence."""

from __future__ import annotations

from typing import NoReturn

import pytest


def _missing() -> NoReturn:
    pytest.fail("passthru's fixtures need pytest-asyncio: pip install pytest-asyncio", pytrace=False)


boot = pytest.fixture(_missing, name="boot")
boot_module = pytest.fixture(_missing, name="boot_module", scope="module")
boot_session = pytest.fixture(_missing, name="boot_session", scope="session")
