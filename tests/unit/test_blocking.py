# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocking on asynchronous work, with and without a running event loop."""

from __future__ import annotations

import asyncio

import pytest

from passthru.blocking import run_blocking


async def work(result: int) -> int:
    await asyncio.sleep(0)
    if result < 0:
        raise ValueError(result)
    return result


def test_without_a_loop() -> None:
    assert run_blocking(work(3)) == 3


async def test_inside_of_a_loop() -> None:
    assert run_blocking(work(3)) == 3
    with pytest.raises(ValueError, match="-1"):
        run_blocking(work(-1))
