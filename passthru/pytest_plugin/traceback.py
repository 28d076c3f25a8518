# SPDX-License-Identifier: GPL-2.0-or-later
"""Failures as the user's frames and a sentence: what lies below the last line of theirs is ours."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import PassthruError

if TYPE_CHECKING:
    from types import TracebackType

_OURS = (str(Path(__file__).resolve().parent.parent), str(Path(asyncio.__file__).parent), contextlib.__file__)


def prune(error: BaseException) -> None:
    """Cut what is below the last frame of the user's off the traceback of an error of ours, and its causes."""
    from passthru.pytest_plugin.machine import CheckFailed

    if not isinstance(error, PassthruError | CheckFailed):
        return
    last: TracebackType | None = None
    entry = error.__traceback__
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith(_OURS):
            last = entry
        entry = entry.tb_next
    if last is not None:
        last.tb_next = None
    error.__cause__ = None
    error.__suppress_context__ = True
