# SPDX-License-Identifier: GPL-2.0-or-later
"""A real QEMU, a real kernel and the least image that boots, from the cache that all the tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.events import tell_nobody
from passthru.image.guest import floor_image
from passthru.image.kernel import Kernel, resolve
from passthru.image.store import Store
from passthru.qemu.find import find

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.qemu.binary import Qemu


@pytest.fixture(scope="session")
def store() -> Store:
    return Store()


@pytest.fixture(scope="session")
def qemu(store: Store) -> Qemu:
    return find("auto", ("vfio-user-pci",), store, tell_nobody)


@pytest.fixture(scope="session")
def kernel(store: Store) -> Kernel:
    return resolve("debian:bookworm/cloud", store, tell_nobody)


@pytest.fixture(scope="session")
def floor(store: Store) -> Path:
    return floor_image(store, tell_nobody)
