# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that the kernel is told by its address: buffers of this process, and memfds mapped for as long as needed."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def address_of(buffer: bytearray | mmap.mmap) -> Iterator[int]:
    """Where a buffer is in this process's memory; within, it neither moves nor goes."""
    held = ctypes.c_char.from_buffer(buffer)
    try:
        yield ctypes.addressof(held)
    finally:
        del held


class MappedFiles:
    """memfds in this process's memory, each once and whole, for as long as a device sees part of one.

    A mapping for a device is told by an address of the process. The pages of a mediated device are looked up there when
    they are needed, so that the memory stays mapped for as long as the device may use it.
    """

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], mmap.mmap] = {}
        self._seen: dict[int, tuple[int, tuple[int, int]]] = {}  # by IOVA: size and file

    def address(self, memory: int, offset: int) -> int:
        """The address of byte ``offset`` of a memfd. Raises OSError where it cannot be mapped."""
        with address_of(self._file(memory)) as address:
            return address + offset

    def seen(self, iova: int, size: int, memory: int) -> None:
        """A device sees part of this memfd from now on."""
        self._seen[iova] = size, _key(memory)

    def unseen(self, iova: int, size: int) -> None:
        """No device sees what lay within these addresses."""
        for each, (length, _) in list(self._seen.items()):
            if iova <= each and each + length <= iova + size:
                del self._seen[each]
        self._release({key for _, key in self._seen.values()})

    def close(self) -> None:
        """Let all of them go."""
        self._seen.clear()
        self._release(set())

    def _file(self, memory: int) -> mmap.mmap:
        key = _key(memory)
        if key not in self._files:
            self._files[key] = mmap.mmap(memory, 0)
        return self._files[key]

    def _release(self, kept: set[tuple[int, int]]) -> None:
        for key in self._files.keys() - kept:
            self._files.pop(key).close()


def _key(memory: int) -> tuple[int, int]:
    status = os.fstat(memory)
    return status.st_dev, status.st_ino
