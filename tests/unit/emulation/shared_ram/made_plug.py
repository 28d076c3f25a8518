# SPDX-License-Identifier: GPL-2.0-or-later
"""A plug for models alone: memory by stream, and nothing behind it."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from passthru.emulation.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.model import Model
    from passthru.emulation.words import Words


class MadeMemory:
    """Pages of 4096 bytes by address; ``read_only`` are some of them. ``writes`` has each write, in order."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.read_only: set[int] = set()
        self.writes: list[tuple[int, bytes]] = []

    def map(self, *pages: int) -> None:
        """Map pages by their addresses."""
        for page in pages:
            self.pages[page] = bytearray(4096)

    def read(self, iova: int, size: int) -> bytes:
        return bytes(self._page(at)[at % 4096] for at in range(iova, iova + size))

    def write(self, iova: int, data: bytes) -> None:
        pages = [self._page(at) for at in range(iova, iova + len(data))]
        if any((iova + at) & -4096 in self.read_only for at in range(len(data))):
            raise OSError(errno.EACCES, "read only")
        for at, (page, byte) in enumerate(zip(pages, data, strict=True), iova):
            page[at % 4096] = byte
        self.writes.append((iova, data))

    def _page(self, at: int) -> bytearray:
        if (page := self.pages.get(at & -4096)) is None:
            raise OSError(errno.EFAULT, "not mapped")
        return page


class MadePlug:
    """Streams come to be when they are asked for."""

    def __init__(self) -> None:
        self.streams: dict[int, MadeMemory] = {}
        self.deferred: deque[Callable[[], None]] = deque()

    @property
    def dma(self) -> MadeMemory:
        return self.stream(0)

    def stream(self, number: int) -> MadeMemory:
        return self.streams.setdefault(number, MadeMemory())

    def defer(self, work: Callable[[], None]) -> None:
        self.deferred.append(work)

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        raise NotImplementedError

    def unwatch(self, descriptor: int) -> None:
        raise NotImplementedError


def words_of(model: Model, region: int) -> Words:
    """What is in a window of a device."""
    window = model.regions[region]
    assert isinstance(window, Window)
    return window.words
