# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the way of an assignment: one sentence, its fix, and who is to blame."""

from __future__ import annotations

from passthru.worker.protocol import MISSING, MISTAKE, UNUSABLE, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.stream import Message


class Blocker:
    """``wrong``: "mistake" (the user named what is not there or in use), "unusable" (this machine cannot), "missing"
    (an optional ``capability`` is not there)."""

    def __init__(self, wrong: str, what: str, fix: str, capability: str = "", device: str | None = None) -> None:
        self.wrong = wrong
        self.what = what
        self.fix = fix
        self.capability = capability
        self.device = device

    def message(self) -> Message:
        """As it is told in the answer to preflight."""
        return {
            "device": self.device,
            "what": self.what,
            "fix": self.fix,
            "wrong": self.wrong,
            "capability": self.capability,
        }

    def error(self) -> RequestError:
        """As it is raised where something was to be done in spite of it."""
        return RequestError(self.wrong, f"{self.what}; {self.fix}" if self.fix else self.what, self.capability)


class Blocked(Exception):
    """What was asked for cannot be; ``blocker`` says why."""

    def __init__(self, blocker: Blocker) -> None:
        super().__init__(blocker.what)
        self.blocker = blocker


def mistake(what: str, fix: str) -> Blocked:
    """The user named something that is not there or must not be taken."""
    return Blocked(Blocker(MISTAKE, what, fix))


def unusable(what: str, fix: str) -> Blocked:
    """This machine cannot."""
    return Blocked(Blocker(UNUSABLE, what, fix))


def missing(capability: str, what: str, fix: str) -> Blocked:
    """An optional capability is not there."""
    return Blocked(Blocker(MISSING, what, fix, capability))
