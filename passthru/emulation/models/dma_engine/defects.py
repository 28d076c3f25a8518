# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that can be injected into the device: what a check is for must be seen to fail by it."""

from __future__ import annotations

from typing import Literal

Defect = Literal[
    "none",
    "lost-interrupt",  # every fourth interrupt is not sent
    "extra-interrupt",  # an acknowledged message comes a second time
    "wrong-vector",  # vectors 0 and 1, 2 and 3 and so on are exchanged
    "wrong-byte",  # the last byte of a transfer has a bit flipped
    "page-wrap",  # the RAM address does not carry from a page into the next
    "stray-write",  # a byte is written behind the target of a transfer
    "silent-fault",  # a transfer that failed is reported as done
    "no-bus-master",  # DMA goes on while bus mastering is off
]

INTERRUPTS_BETWEEN_LOST_ONES = 4
