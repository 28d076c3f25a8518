# SPDX-License-Identifier: GPL-2.0-or-later
"""What the hostile clients of a test run did and what came of it, so that a log shows that something was done."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts over all conversations."""

    def __init__(self) -> None:
        self.conversations = 0
        self.sends = 0
        self.bytes = 0
        self.descriptors = 0
        self.replies: Counter[str] = Counter()  # by errno, "ok" without one
        self.asked = 0  # commands of the server: DMA_READ and DMA_WRITE
        self.disconnects = 0  # by the server
        self.served_after = 0  # clients that were served after a hostile one

    def lines(self) -> list[str]:
        """The report."""
        replies = ", ".join(f"{name} {number}" for name, number in sorted(self.replies.items()))
        return [
            f"{self.conversations} conversations: {self.sends} sends of {self.bytes} bytes"
            f" and {self.descriptors} descriptors",
            f"{self.replies.total()} replies: {replies}",
            f"{self.asked} commands of the server, {self.disconnects} disconnects by it,"
            f" {self.served_after} sound clients served afterwards",
        ]


TALLY = Tally()
