# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM that a client shares by a descriptor, reached so that the client cannot kill us with it.

A touch of a mapped page that its file no longer has is SIGBUS, which Python cannot turn into an error: the fault
comes back for ever or the process dies. Three ways of access follow from what the client handed over:

- A memfd with F_SEAL_SHRINK and ordinary pages, which is what QEMU's memory-backend-memfd makes, never loses a page:
  it is touched directly.
- Other RAM (a memfd without that seal, a file of tmpfs, huge pages, which a hole gives back) is mapped as well, and
  the kernel copies to and from it on our behalf: for the kernel a lost page is EFAULT.
- Files that are no RAM may be served by the client itself (FUSE) and would block us for as long as it likes: they are
  not touched at all, and DMA goes by messages as for a range without a descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import Protocol

from passthru.emulation.descriptors import check_room
from passthru.vfio.linux_vfio_iommu import VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE

_COPIED_AT_ONCE = 256 << 10  # bytes; stays in the processor's cache


class ClientRam(Protocol):
    """Bytes from 0 on; after `close` and where pages are lost, accesses raise OSError EFAULT."""

    def read(self, at: int, size: int) -> bytes:
        """``size`` bytes from ``at``; the caller keeps to the range."""

    def write(self, at: int, data: bytes) -> None:
        """All of ``data`` to ``at``; what stands before a lost page may have been written."""

    def close(self) -> None:
        """Give it back."""


class Scratch:
    """Memory of ours that the kernel copies through; made when it is first needed."""

    def __init__(self) -> None:
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """A memfd of any content."""
        if self._descriptor < 0:
            self._descriptor = os.memfd_create("passthru-scratch")
        return self._descriptor

    def close(self) -> None:
        """Give it back; it can be used again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def share_ram(descriptor: int, size: int, flags: int, offset: int, scratch: Scratch) -> ClientRam | None:
    """The ``size`` bytes at ``offset`` of ``descriptor``, which stays the caller's; None for what is no RAM.

    ``flags`` are ``VFIO_DMA_MAP_FLAG_*``. Raises OSError: EINVAL for what is no memory at all, and where the file is
    too short or the offset is no page's; EMFILE where too many descriptors are held; else what mmap says.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith("/"):  # noqa: PTH115 (as in `eventfd`)
            return None
        raise OSError(errno.EINVAL, "the descriptor is no memory") from error
    check_room(descriptor)  # the mapping holds a duplicate
    protection = mmap.PROT_READ if flags & VFIO_DMA_MAP_FLAG_READ else 0
    protection |= mmap.PROT_WRITE if flags & VFIO_DMA_MAP_FLAG_WRITE else 0
    try:
        memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection, offset=offset)
    except (ValueError, OverflowError) as error:  # longer than the file, or an offset that is no page
        raise OSError(errno.EINVAL, str(error)) from error
    if seals & fcntl.F_SEAL_SHRINK and os.fstat(descriptor).st_blksize == mmap.PAGESIZE:
        return _Lasting(memory)
    return _Guarded(memory, scratch)


class _Lasting:
    """RAM that keeps its pages."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def read(self, at: int, size: int) -> bytes:
        _check(self._memory)
        return self._memory[at : at + size]

    def write(self, at: int, data: bytes) -> None:
        _check(self._memory)
        self._memory[at : at + len(data)] = data

    def close(self) -> None:
        self._memory.close()


class _Guarded:
    """RAM that may lose its pages at any time: only the kernel touches it."""

    def __init__(self, memory: mmap.mmap, scratch: Scratch) -> None:
        self._memory = memory
        self._scratch = scratch

    def read(self, at: int, size: int) -> bytes:
        _check(self._memory)
        data = bytearray(size)
        with memoryview(self._memory) as memory, memoryview(data) as ours:
            for start in range(0, size, _COPIED_AT_ONCE):
                end = min(start + _COPIED_AT_ONCE, size)
                with memory[at + start : at + end] as theirs, ours[start:end] as part:
                    _all(os.pwritev(self._scratch.descriptor, [theirs], 0), end - start)
                    os.preadv(self._scratch.descriptor, [part], 0)
        return bytes(data)

    def write(self, at: int, data: bytes) -> None:
        _check(self._memory)
        with memoryview(self._memory) as memory, memoryview(data) as ours:
            for start in range(0, len(data), _COPIED_AT_ONCE):
                end = min(start + _COPIED_AT_ONCE, len(data))
                with memory[at + start : at + end] as theirs, ours[start:end] as part:
                    os.pwritev(self._scratch.descriptor, [part], 0)
                    _all(os.preadv(self._scratch.descriptor, [theirs], 0), end - start)

    def close(self) -> None:
        self._memory.close()


def _check(memory: mmap.mmap) -> None:
    """The client may unmap while a transfer waits for its messages."""
    if memory.closed:
        raise OSError(errno.EFAULT, "the memory was unmapped meanwhile")


def _all(copied: int, wanted: int) -> None:
    if copied != wanted:
        raise OSError(errno.EFAULT, "the client's memory was cut short behind our back")
