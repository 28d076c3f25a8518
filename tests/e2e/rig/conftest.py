# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig that tests share: booted by the first that asks, on the session's event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from passthru.image.store import Store
from tests.e2e.rig.brought import Brought, bring, installed
from tests.e2e.rig.emulated import EmulatedHost, emulated, rig_plan
from tests.e2e.rig.local import Local, install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="session")
def brought() -> Brought:
    """The directories that the shared rig is booted with."""
    return bring()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig(brought: Brought, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmulatedHost]:
    """The shared rig; whoever changes something in it changes it back."""
    plan = await asyncio.to_thread(rig_plan, brought.overrides)
    async with emulated(plan, tmp_path_factory.mktemp("rig")) as host:
        yield host


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The wheel of this checkout, for the rig's Python."""
    return installed(Store(), tmp_path_factory.mktemp("installed"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def inside(rig: EmulatedHost, brought: Brought, package: bytes) -> Local:
    """The command ``passthru``, installed in the shared rig."""
    return await install(rig, brought, package)
