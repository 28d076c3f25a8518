# SPDX-License-Identifier: GPL-2.0-or-later
"""Device servers that do one thing wrong each, with the test of the suite that has to tell.

The honest server stands behind each of them; what is wrong is in between (`proxy`).
"""

from __future__ import annotations

from tests.unit.vfio.conform.broken import info, interrupts, memory, messages, registers
from tests.unit.vfio.conform.broken.kinds import KINDS, TIME_LIMIT, Broken

__all__ = ["KINDS", "TIME_LIMIT", "Broken", "info", "interrupts", "memory", "messages", "registers"]
