# SPDX-License-Identifier: GPL-2.0-or-later
"""Long reads that tell how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from passthru.events import Progress

if TYPE_CHECKING:
    from passthru.events import Tell


def watched(raw: BinaryIO, total: int, tell: Tell, work: str) -> BinaryIO:
    """``raw`` of ``total`` bytes, telling each tenth of it that was read. It only reads, and forwards."""
    told = -1

    class Watched:
        def read(self, size: int = -1) -> bytes:
            nonlocal told
            data = raw.read(size)
            tenth = raw.tell() * 10 // max(total, 1)
            if tenth > told:
                told = tenth
                tell(Progress(work, raw.tell(), total, "bytes"))
            return data

    return cast("BinaryIO", Watched())
