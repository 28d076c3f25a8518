# SPDX-License-Identifier: GPL-2.0-or-later
"""One thing that runs need, and how it stands on this machine: what `passthru doctor` tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How something stands."""

    READY = "ready"
    LATER = "later"
    """Not here, and got by itself when it is needed."""
    SLOWER = "slower"
    """Not here; runs work without it."""
    ABSENT = "absent"
    """Not here; only scenarios that assign devices of this machine would need it."""
    LEFT = "left"
    """Changes that a killed run left on this machine."""
    MISSING = "missing"
    """Not here, and nothing runs without it."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that runs need: how it stands, in a sentence, and what to do where it does not."""

    what: str
    state: State
    text: str
    remedy: str = ""
