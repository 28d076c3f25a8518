# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of one worker: journaled, then done; undone in reverse, what is still ours."""

from __future__ import annotations

import contextlib

from passthru.worker.devices.journal import Journal, new_journal
from passthru.worker.devices.steps import StepError, describe, perform, revert
from passthru.worker.protocol import UNUSABLE, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.worker.devices.journal import Step
    from passthru.worker.devices.system import System


class Ledger:
    """The steps, in the order in which they were done. Each belongs to an assignment (its ``owner``, "" for the whole
    worker) and to a ``resource`` that assignments may share: a group, a physical function."""

    def __init__(self, system: System, journal: Journal | None = None, steps: list[Step] | None = None) -> None:
        """With ``journal`` and ``steps`` these are a dead worker's."""
        self.system = system
        self.steps = steps or []
        self._journal = journal
        self._number = max((step["step"] for step in self.steps), default=0)

    def do(self, step: Step) -> None:
        """Journal a step and do it. Raises StepError, RequestError where no journal can be written."""
        try:
            if self._journal is None:
                self._journal = new_journal(self.system)
            self._number += 1
            step = {"step": self._number, **step}
            self._journal.write(step)
        except OSError as error:
            raise RequestError(
                UNUSABLE,
                f"cannot journal in {self.system.state} what is to be changed: {error.strerror};"
                " nothing is changed without that",
            ) from error
        self.steps.append(step)
        self.system.step_begins()
        perform(self.system, step)
        self.system.step_ended()

    @property
    def mark(self) -> int:
        """Where the ledger is now, for ``undo_since``."""
        return self._number

    def undo_since(self, mark: int) -> list[str]:
        """Undo the steps that came after a mark; returns a sentence for each failure."""
        return self.undo(lambda step: step["step"] > mark)[1]

    def undo(self, which: Callable[[Step], bool]) -> tuple[list[str], list[str], list[str]]:
        """Undo steps in reverse; returns sentences on what was undone, what failed, what is not ours any more.

        What comes before a failed one of the same owner waits for it and stays in the journal: a device goes back to
        its driver only when it has left ours, and modules stay as long as anything else does.
        """
        undone: list[str] = []
        failed: list[str] = []
        kept: list[str] = []
        stuck: set[str] = set()
        for step in [step for step in reversed(self.steps) if which(step)]:
            if step["owner"] in stuck or (stuck and not step["owner"]):
                continue
            self.system.step_begins()
            try:
                result = revert(self.system, step)
            except Exception as error:  # whatever it is, it must not keep the other steps
                failed.append(
                    str(error) if isinstance(error, StepError) else f"{step}: {type(error).__name__}: {error}"
                )
                stuck.add(step["owner"])
                continue
            self.system.step_ended()
            self._forget(step)
            if result != "nothing":
                (undone if result == "undone" else kept).append(describe(step))
        if not self.steps and self._journal:
            self._journal.remove()
            self._journal = None
        return undone, failed, kept

    def drop(self, which: Callable[[Step], bool]) -> None:
        """Forget steps without undoing them: they stay."""
        for step in [step for step in self.steps if which(step)]:
            self._forget(step)
        if not self.steps and self._journal:
            self._journal.remove()
            self._journal = None

    def close(self) -> None:
        """Leave what could not be undone to `recover`."""
        if self._journal:
            self._journal.close()
            self._journal = None

    def _forget(self, step: Step) -> None:
        if self._journal:
            # Without this line `recover` looks at it once more, and sees that there is nothing to undo.
            with contextlib.suppress(OSError):
                self._journal.write({"undone": step["step"]})
        self.steps.remove(step)
