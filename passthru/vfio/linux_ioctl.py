# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of ioctls, as ``<linux/ioctl.h>`` makes them: for x86, arm, riscv and whoever else has no layout of its own.

VFIO and iommufd use ``_IO`` for everything, as their structures grow and tell their size themselves.
"""

from __future__ import annotations

_NUMBER_BITS = 8
_SIZE_SHIFT = 16
_DIRECTION_SHIFT = 30
_WRITE = 1  # by user space, to the kernel
_READ = 2


def io(kind: int, number: int) -> int:
    """``_IO(kind, number)``; ``kind`` is the letter of the subsystem."""
    return kind << _NUMBER_BITS | number


def iow(kind: int, number: int, size: int) -> int:
    """``_IOW(kind, number, type)`` with a type of ``size`` bytes."""
    return _WRITE << _DIRECTION_SHIFT | size << _SIZE_SHIFT | io(kind, number)


def iowr(kind: int, number: int, size: int) -> int:
    """``_IOWR(kind, number, type)`` with a type of ``size`` bytes."""
    return _READ << _DIRECTION_SHIFT | iow(kind, number, size)
