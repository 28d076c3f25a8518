# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals as something that can be waited for together with a stream."""

from __future__ import annotations

import os
import signal

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalWatch:
    """Collects SIGCHLD and the signals that end the worker; ``fileno()`` is readable when one has come.

    SIGCHLD rather than a pidfd for each child: it tells of adopted orphans too.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for signum in (signal.SIGCHLD, *ENDING):
            # The interpreter's own handler writes the number to the pipe, for a signal that has a Python handler.
            signal.signal(signum, lambda *_: None)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._reader

    def take(self) -> set[int]:
        """The signals that have come since the last time."""
        try:
            return set(os.read(self._reader, 4096))
        except BlockingIOError:
            return set()
