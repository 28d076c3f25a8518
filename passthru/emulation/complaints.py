# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device server says on stderr: little enough that no client can fill a disk with it, and never fatal."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress

MOST_MISTAKES = 8


class Complaints:
    """What is said about one client."""

    def __init__(self) -> None:
        self._mistakes = 0

    def say(self, sentence: str) -> None:
        """One sentence."""
        with suppress(OSError, ValueError):  # nobody may be listening, and stderr may be closed
            print(sentence, file=sys.stderr, flush=True)

    def mistake(self, error: BaseException) -> None:
        """A mistake of ours or of the model's: the traceback, for the first MOST_MISTAKES of them."""
        self._mistakes += 1
        if self._mistakes <= MOST_MISTAKES:
            with suppress(OSError, ValueError):
                traceback.print_exception(error)
        elif self._mistakes == MOST_MISTAKES + 1:
            self.say("more mistakes like this happen with this client, and are not shown")
