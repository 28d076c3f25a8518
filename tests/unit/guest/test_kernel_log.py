# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines out of bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded
from passthru.guest.kernel_log import KernelLog

if TYPE_CHECKING:
    from passthru.guest.splat import Splat


async def test_lines_lose_time_stamps_and_callers_and_may_come_in_parts() -> None:
    log = KernelLog()
    for part in (b"[    0.0000", b"00] Linux ver", b"sion 6.1\r\n[   12.345678][    T1] two\nplain ", b"\xff\n[x] y\n"):
        log.feed(part)
    assert log.lines == ["Linux version 6.1", "two", "plain \N{REPLACEMENT CHARACTER}", "[x] y"]


async def test_last_lines_hold_the_unfinished_one() -> None:
    log = KernelLog()
    log.feed(b"one\ntwo\nlogin: ")
    assert log.last_lines(2) == ("two", "login: ")


async def test_waiting_sees_the_past_and_the_future() -> None:
    log = KernelLog()
    log.feed(b"one\n")
    assert await log.wait_for("^o", Deadline.after(60)) == "one"
    wait = asyncio.create_task(log.wait_for(r"t\w+", Deadline.after(60), since=1))
    await asyncio.sleep(0)
    log.feed(b"tw")
    log.feed(b"o\nthree\n")
    assert await wait == "two"
    with pytest.raises(DeadlineExceeded, match="three"):
        await log.wait_for("four", Deadline.after(0.01))


async def test_a_splat_without_an_end_counts_once_the_log_is_silent() -> None:
    log = KernelLog()
    complete: asyncio.Future[Splat] = asyncio.get_running_loop().create_future()
    log.on_splat(complete.set_result)
    log.feed(b"[    1.000000] Kernel panic - not syncing: oh\n[    1.000001] CPU: 0\n")
    assert not complete.done()
    assert (await complete).lines == ("Kernel panic - not syncing: oh", "CPU: 0")


async def test_the_end_of_the_console_completes_what_is_open() -> None:
    log = KernelLog()
    log.feed(b"Kernel panic - not syncing: cut o")
    log.finish()
    assert [splat.title for splat in log.splats] == ["Kernel panic - not syncing: cut o"]
