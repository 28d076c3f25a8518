# SPDX-License-Identifier: GPL-2.0-or-later
"""The two process controls that keep children from outliving the worker (prctl(2), linux/prctl.h)."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int) -> None:
    # The arguments are unsigned long by the kernel's interface; ctypes would pass int.
    rest = (ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if _libc.prctl(ctypes.c_int(option), *rest) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {argument}): {os.strerror(number)}")


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, so that it can find and kill them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """For a freshly forked child: SIGKILL as soon as ``parent`` (its process id) dies; exits if it has died already.

    The signal follows the thread that forked, not the process: enough for a single-threaded parent. It survives
    execve(2), except of a set-user-id program, and is not inherited by the child's own children: a second line of
    defence, for a parent that is killed with SIGKILL.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
