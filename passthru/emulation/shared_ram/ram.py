# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's RAM: a file that its QEMU maps shared, at a physical address."""

from __future__ import annotations

import errno
import mmap
import os

from passthru.emulation.words import Words
from passthru.errors import Unusable, UserMistake


class GuestRam:
    """The file ``path`` as the guest's RAM from ``base`` on, ``size`` bytes; made or lengthened where it is not.

    QEMU takes a file that is there as it is, so what we write before it starts is in RAM when its guest begins.
    Raises Unusable where the file cannot be had, UserMistake where it has another size.
    """

    def __init__(self, path: str, base: int, size: int) -> None:
        self.base = base
        self.end = base + size
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unusable(
                f"the RAM file {path} cannot be opened: {error.strerror}; give one in a place to write"
            ) from error
        try:
            there = os.fstat(descriptor).st_size
            if there > size:
                raise UserMistake(f"the RAM file {path} has {there} bytes where the guest's RAM has {size}")
            os.ftruncate(descriptor, size)
            self._memory = mmap.mmap(descriptor, size)
        except OSError as error:
            raise Unusable(f"the RAM file {path} cannot be mapped: {error.strerror}") from error
        finally:
            os.close(descriptor)
        self._view = memoryview(self._memory)
        self._words = Words(memoryview(self._memory))

    def has(self, address: int, size: int = 1) -> bool:
        """Whether all of the ``size`` bytes at a physical address are RAM."""
        return self.base <= address and address + size <= self.end

    def part(self, address: int, size: int) -> memoryview:
        """The ``size`` bytes at a physical address, to be released before `close`; raises UserMistake elsewhere."""
        if not self.has(address, size) or address % mmap.PAGESIZE:
            raise UserMistake(
                f"{size:#x} bytes at {address:#x} are not pages of the guest's RAM, {self.base:#x} to {self.end:#x}"
            )
        return self._view[address - self.base : address - self.base + size]

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes from a physical address; raises OSError EFAULT where there is no RAM."""
        at = self._place(address, size)
        return bytes(self._view[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        """Write all of ``data``; raises OSError EFAULT where there is no RAM."""
        at = self._place(address, len(data))
        self._view[at : at + len(data)] = data

    def entry(self, address: int) -> int:
        """The 8 aligned bytes at a physical address, as an entry of a table; raises OSError EFAULT."""
        return self._words.get_long(self._place(address, 8))

    def close(self) -> None:
        """Unmap it. The file is the caller's."""
        self._words.release()
        self._view.release()
        self._memory.close()

    def _place(self, address: int, size: int) -> int:
        if not self.has(address, size):
            raise OSError(errno.EFAULT, f"there is no RAM at the physical address {address:#x}")
        return address - self.base
