# SPDX-License-Identifier: GPL-2.0-or-later
"""The signals that end a device server, noticed whatever it waits for.

Python runs a signal's handler in the main thread, between two of its steps. A signal that comes just before that thread
begins to wait in the kernel is taken note of and not acted on: until something else wakes it, possibly for ever. So a
thread of its own, which Python tells of each signal at once, sends it again until it has been acted on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN_SECONDS = 0.05


class Ended(BaseException):
    """One of ENDS came."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Inside, one of ENDS ends the main thread's work, which alone may call this; leaving swallows that."""
    told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(told, True)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    main = threading.get_ident()
    # Signals are for the main thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=_send_again, args=(told, main), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        for number in ENDS:
            signal.signal(number, _end)
        yield
    except Ended:
        pass


def _end(number: int, frame: FrameType | None) -> NoReturn:
    for end in ENDS:
        signal.signal(end, signal.SIG_IGN)
    raise Ended


def _send_again(told: int, main: int) -> None:
    """Wait for the first of ENDS; it is ignored as soon as it has been acted on, and the process ends then."""
    while (number := os.read(told, 1)[0]) not in ENDS:
        pass
    while True:
        time.sleep(AGAIN_SECONDS)
        signal.pthread_kill(main, number)
