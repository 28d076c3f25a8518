# SPDX-License-Identifier: GPL-2.0-or-later
"""What a console showed, on disk: the plain bytes and an asciicast v2 recording.

https://docs.asciinema.org/manual/asciicast/v2/: a header line, then one ``[seconds, "o", text]`` a line.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import time
from typing import TYPE_CHECKING

import aiofiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WRITE_PERIOD = 0.25
"""Seconds between two writes to the files: what a harness that is killed loses at most."""


class Recording:
    """Takes bytes at any time, without waiting; they reach the files a moment later (see ``recorded``)."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._gathered: list[tuple[float, bytes]] = []
        self._more = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Record ``data`` as shown now."""
        self._gathered.append((time.monotonic() - self._began, data))
        self._more.set()


@contextlib.asynccontextmanager
async def recorded(directory: Path, name: str, *, width: int = 80, height: int = 24) -> AsyncIterator[Recording]:
    """A recording into ``NAME.log`` and ``NAME.cast`` of an existing directory; complete on disk when the context ends,
    however it ends. Raises OSError where the files cannot be made or written."""
    recording = Recording()
    header = {"version": 2, "width": width, "height": height, "timestamp": int(time.time()), "title": name}
    async with (
        aiofiles.open(directory / f"{name}.log", "wb") as log,
        aiofiles.open(directory / f"{name}.cast", "w", encoding="utf-8") as cast,
    ):
        await cast.write(json.dumps(header) + "\n")
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

        async def write_out() -> None:
            gathered, recording._gathered = recording._gathered, []
            if not gathered:
                return
            await log.write(b"".join(data for _, data in gathered))
            shown = ((at, decoder.decode(data)) for at, data in gathered)
            await cast.write(
                "".join(f"[{at:.6f}, {json.dumps('o')}, {json.dumps(text)}]\n" for at, text in shown if text)
            )
            await log.flush()
            await cast.flush()

        async def keep_writing() -> None:
            while True:
                await recording._more.wait()
                recording._more.clear()
                await write_out()
                await asyncio.sleep(WRITE_PERIOD)  # waits for nothing: it bounds how often the files are written

        writer = asyncio.create_task(keep_writing(), name=f"recording of {name}")
        try:
            yield recording
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            await asyncio.shield(write_out())
