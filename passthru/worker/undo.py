# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker did and how to undo it, last step first."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class UndoStack:
    """Steps that were done, each with what undoes it.

    A step that changes the host for longer than this process lives is written to the journal before it is done; that
    journal belongs here, around ``push`` and ``run``.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], None]]] = []

    def push(self, step: str, undo: Callable[[], None]) -> None:
        """Remember that ``step`` (a few words: "the scratch directory /tmp/x") was done and how to undo it."""
        self._steps.append((step, undo))

    def run(self) -> list[str]:
        """Undo every step in reverse; one that fails does not keep the others. Returns a sentence for each failure."""
        failures = []
        while self._steps:
            step, undo = self._steps.pop()
            try:
                undo()
            except Exception as error:
                failures.append(f"could not undo {step}: {error}")
        return failures
