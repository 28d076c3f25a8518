# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracebacks that end at the user's line."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded
from passthru.pytest_plugin.traceback import prune


async def test_an_error_of_ours_ends_in_the_user_s_frame_and_has_no_cause() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        async with Deadline.after(0).waiting_for("what never comes"):
            await asyncio.Event().wait()
    error = caught.value
    prune(error)
    assert [frame.filename for frame in traceback.extract_tb(error.__traceback__)] == [__file__]
    assert error.__cause__ is None
    assert "Timeout" not in "".join(traceback.format_exception(error))


def test_others_are_left_alone() -> None:
    with pytest.raises(ValueError, match="own") as caught:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("own") from cause
    before = traceback.format_exception(caught.value)
    prune(caught.value)
    assert traceback.format_exception(caught.value) == before
