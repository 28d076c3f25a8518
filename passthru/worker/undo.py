# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker did and how to undo it, last step first."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class UndoStack:
    """Steps that were done, each with what undoes it.

    Steps that change the host for longer than this process lives have a journal and a stack of their own
    (devices/ledger.py), which is one step of this one.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Sequence[str] | None]]] = []

    def push(self, step: str, undo: Callable[[], Sequence[str] | None]) -> None:
        """Remember that ``step`` (a few words: "the scratch directory /tmp/x") was done and how to undo it.

        ``undo`` may return sentences about what of it failed.
        """
        self._steps.append((step, undo))

    def run(self) -> list[str]:
        """Undo every step in reverse; one that fails does not keep the others. Returns a sentence for each failure."""
        failures: list[str] = []
        while self._steps:
            step, undo = self._steps.pop()
            try:
                failures += undo() or ()
            except Exception as error:
                failures.append(f"could not undo {step}: {error}")
        return failures
