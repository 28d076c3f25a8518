# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace of a vfio-user conversation: compact records, written as it happens.

A file is FILE_HEADER and records. A record is RECORD and its captured bytes: the first CAPTURE_LIMIT of a message
(whose own header tells its full size), or a text for a note. A file that ends within a record was cut off by the
death of its writer; what stands before is whole. `trace_lines` makes it readable.
"""

from __future__ import annotations

import os
import sys
import time
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"PTVU"
FORMAT = 1
# magic, format, reserved, wall clock at the start in ns since 1970
FILE_HEADER = Struct("<4sHHQ")
# ns since the start, kind, number of descriptors that came or went along, length of what follows
RECORD = Struct("<QBBxxI")

FROM_CLIENT = 0
FROM_SERVER = 1
CONNECTED = 2
DISCONNECTED = 3
NOTE = 4

CAPTURE_LIMIT = 4096
FLUSH_BYTES = 1 << 16
FLUSH_SECONDS = 0.2
LARGEST_FILE = 1 << 30


class TraceWriter:
    """Writes a trace to a descriptor, which it owns.

    Records wait in memory until there are FLUSH_BYTES of them or somebody calls `flush`. ``arm(seconds)`` is called
    when the first of them begins to wait, so that the owner can have `flush` called by a timer: a server that is
    killed while it is idle has then already told everything. An error of the file (a full disk) ends the trace,
    with a sentence on stderr, and never the conversation.
    """

    def __init__(self, descriptor: int, arm: Callable[[float], object] = lambda seconds: None) -> None:
        self._descriptor = descriptor
        self._arm = arm
        self._began = time.monotonic_ns()
        self._waiting: list[bytes] = [FILE_HEADER.pack(MAGIC, FORMAT, 0, time.time_ns())]
        self._bytes = 0
        self._written = 0
        self._flushing = False
        self._ended = False
        self.flush()

    def message(self, kind: int, data: bytes, descriptors: int = 0) -> None:
        """Record a message (``FROM_CLIENT``, ``FROM_SERVER``) or an event of another kind."""
        if self._ended:
            return
        captured = data[:CAPTURE_LIMIT]
        record = RECORD.pack(time.monotonic_ns() - self._began, kind, descriptors, len(captured)) + captured
        self._waiting.append(record)  # as a whole: a signal handler that flushes may come between any two steps
        if len(self._waiting) == 1:
            self._arm(FLUSH_SECONDS)
        self._bytes += len(record)
        if self._bytes >= FLUSH_BYTES:
            self.flush()

    def note(self, text: str) -> None:
        """Record something that is no message."""
        self.message(NOTE, text.encode())

    def flush(self) -> None:
        """Write out what waits; may be called from a signal handler."""
        if self._flushing or self._ended or not self._waiting:
            return
        self._flushing = True
        try:
            waiting = tuple(self._waiting)
            del self._waiting[: len(waiting)]  # the same list: whoever was interrupted may be about to append to it
            self._bytes = 0
            data = b"".join(waiting)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._written += len(data)
            if self._written > LARGEST_FILE:
                self._end(f"the trace ends after {self._written >> 20} MiB, which is as much as it keeps")
        except OSError as error:
            self._end(f"the trace ends here: {error.strerror}")
        finally:
            self._flushing = False

    def close(self) -> None:
        """Write out what waits and close the file; later records are dropped."""
        self.flush()
        if not self._ended:
            self._ended = True
            os.close(self._descriptor)

    def _end(self, why: str) -> None:
        self._ended = True
        os.close(self._descriptor)
        print(why, file=sys.stderr, flush=True)
