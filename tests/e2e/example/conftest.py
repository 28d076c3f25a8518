# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests for the tests beside this file. Copy both, and change what is booted and asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from passthru.pytest_plugin import device, machine_fixture, scenario

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.pytest_plugin import Machine

# A scenario by its name (or file), booted once for all tests.
card = machine_fixture("mtty", scope="session")

# A guest in code, booted anew for each test that asks for it.
small_card = machine_fixture(
    scenario("small-card", memory="128M", cmdline="loglevel=8", devices={"mtty0": device("mtty", ports=1)})
)


@pytest_asyncio.fixture(loop_scope="session")  # where guests that tests share live
async def workplace(card: Machine) -> AsyncIterator[str]:
    """A directory in the shared guest, for one test."""
    directory = (await card.guest.succeed("mktemp -d")).strip()
    yield directory
    await card.guest.succeed(f"rm -r {directory}")
