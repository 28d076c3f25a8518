# SPDX-License-Identifier: GPL-2.0-or-later
"""What workers that were killed left behind: undone by their journals."""

from __future__ import annotations

from passthru.worker.devices.journal import dead_journals, left_of
from passthru.worker.devices.ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message


def recover(system: System) -> Message:
    """Undo every step of dead owners in this boot; what an older boot had went with it, and so does its journal."""
    undone: list[str] = []
    failed: list[str] = []
    kept: list[str] = []
    for journal, lines in dead_journals(system, wait=True):
        if not lines or lines[0].get("boot") != system.boot:
            journal.remove()
            continue
        steps = left_of(lines)
        if not steps:
            journal.remove()
            continue
        ledger = Ledger(system, journal, steps)
        of_this = ledger.undo(lambda step: True)
        for all_of, new in zip((undone, failed, kept), of_this, strict=True):
            all_of += new
        ledger.close()
    return {"undone": undone, "failed": failed, "kept": kept}


def dead_steps(system: System) -> int:
    """How many steps of killed workers of this boot wait for recovery."""
    count = 0
    for journal, lines in dead_journals(system):
        if lines and lines[0].get("boot") == system.boot:
            count += len(left_of(lines))
        journal.close()
    return count
