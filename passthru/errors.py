# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of everything that passthru itself raises.

    PassthruError                125   passthru could not judge
    |-- UserMistake                2   the user wrote something wrong
    |   `-- ScenarioError          2   ... in a scenario: file, line and key are part of the sentence
    |-- Unusable                 125   something of this machine cannot be used: QEMU, kernel, cache, network
    |-- MissingCapability        125   something optional is not there: a check is skipped for it, naming it
    |-- DeadlineExceeded         125   a wait ended without what was awaited
    |-- GuestTrouble             125   the guest, its QEMU or a companion died, hung or complained
    |   `-- GuestStuck           125   ... as guests of emulated hosts do now and then: worth another boot
    `-- WorkerLost               125   the worker's stream ended

Each message is a sentence: what failed, on what, and what to do about it. Library errors are kept as the
cause (``raise ... from error``) and never shown to a user by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class PassthruError(Exception):
    """Base of every error that is told to the user as one sentence, without a traceback."""

    exit_code: ClassVar[int] = 125


class UserMistake(PassthruError):
    """The command line or a file that the user wrote is wrong."""

    exit_code = 2


class ScenarioError(UserMistake):
    """A scenario is wrong; the message names file, line and key."""


class Unusable(PassthruError):
    """QEMU, a kernel, the cache, the network or this machine cannot be used as asked."""


class MissingCapability(PassthruError):
    """An optional capability is not there.

    ``capability`` is its short name, as it is shown beside a skipped check.
    """

    def __init__(self, capability: str, message: str) -> None:
        super().__init__(message)
        self.capability = capability


class DeadlineExceeded(PassthruError):
    """A wait ended without what was awaited.

    ``awaited`` says what, ``seconds`` for how long, ``last_lines`` what the console showed last.
    """

    def __init__(self, awaited: str, seconds: float, last_lines: Sequence[str] = ()) -> None:
        tail = "".join(f"\n    | {line}" for line in last_lines)
        shown = f"; the last lines of the console:{tail}" if tail else ""
        super().__init__(f"waited {seconds:.1f} s for {awaited}, in vain{shown}")
        self.awaited = awaited
        self.seconds = seconds
        self.last_lines = tuple(last_lines)


class GuestTrouble(PassthruError):
    """The guest's kernel, its QEMU or a companion died, hung or complained.

    ``culprit`` is what did: ``device``, ``guest-kernel``, ``host-kernel`` or ``qemu``; a scenario whose subject
    holds it fails by this, any other one could not be judged.
    """

    def __init__(self, culprit: str, message: str) -> None:
        super().__init__(message)
        self.culprit = culprit


class GuestStuck(GuestTrouble):
    """The guest came to a standstill as guests under an emulated host's KVM do now and then, whatever is tested."""

    def __init__(self, message: str) -> None:
        super().__init__("rig", message)


class WorkerLost(PassthruError):
    """The worker's stream ended before its work did."""
