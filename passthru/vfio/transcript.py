# SPDX-License-Identifier: GPL-2.0-or-later
"""The last calls on a device, kept so that a failure can tell what was sent and what came back.

Every call is noted and hardly any is ever read, so that words are put together only then.
"""

from __future__ import annotations

import errno
import os
from collections import deque

KEPT = 64
SHOWN_BYTES = 32


class Transcript:
    """A bounded list of calls; the oldest go first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._calls: deque[tuple[object, ...]] = deque(maxlen=kept)
        self.note = self._calls.append
        """Note a call: a tuple of its name and what belongs to it, words, numbers, bytes or the error it met."""

    def lines(self, last: int = KEPT) -> list[str]:
        """The last calls as text, the newest at the end; numbers are hexadecimal, long data shortened."""
        return [_line(call) for call in list(self._calls)[-last:]]

    def clear(self) -> None:
        """Forget all of them."""
        self._calls.clear()


def _line(call: tuple[object, ...]) -> str:
    from passthru.vfio.structure_fields import named_fields

    words = []
    for word in call:
        if isinstance(word, bytes) and (found := named_fields(str(call[0]), word))[0]:
            words.append(found[0])
            word = found[1].rstrip(b"\0")  # room that was not needed
        if word != b"":
            words.append(shown(word))
    return " ".join(words)


def shown(word: object) -> str:
    """One word of a call as text."""
    if isinstance(word, bytes | bytearray | memoryview):
        data = bytes(word)
        return data[:SHOWN_BYTES].hex(" ", -4) + (f"...({len(data)} bytes)" if len(data) > SHOWN_BYTES else "")
    if isinstance(word, bool) or not isinstance(word, int | OSError):
        return str(word)
    if isinstance(word, OSError):
        return f"-> {name_of_errno(word)}"
    return str(word) if -10 < word < 10 else hex(word)


def name_of_errno(error: OSError) -> str:
    """``EINVAL``; what the error says where it has no errno."""
    number = error.errno
    return errno.errorcode.get(number, os.strerror(number)) if number else str(error) or type(error).__name__
