# SPDX-License-Identifier: GPL-2.0-or-later
"""The own kernel for tests: out of the cache, or built once for all of them, where that can be afforded."""

from __future__ import annotations

import shutil

import pytest

from passthru.events import tell_nobody
from passthru.image.arch import machine_arch
from passthru.image.kernel import Kernel, resolve
from passthru.image.own import provide as own
from passthru.image.store import Store

MOST_MINUTES = 12


def own_kernel() -> Kernel:
    """The own kernel; a skip that names its reason where a build would take too much time or room."""
    store = Store()
    if own.built("amd64", store) is None:
        if machine_arch() != "amd64":
            pytest.skip(f"the own kernel is not in the cache, and is built on amd64 machines, not on {machine_arch()}")
        store.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store.root).free
        if free < own.BUILD_BYTES:
            pytest.skip(f"the own kernel is not in the cache, which has {free / 1e9:.1f} GB left to build it in")
        if own.minutes("amd64") > MOST_MINUTES:
            pytest.skip(f"the own kernel is not in the cache; to build it takes {own.minutes('amd64')} minutes here")
    return resolve("own", store, tell_nobody)
