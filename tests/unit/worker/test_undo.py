# SPDX-License-Identifier: GPL-2.0-or-later
"""The undo stack."""

from __future__ import annotations

from passthru.worker.undo import UndoStack


def test_last_first_and_a_failure_keeps_nothing_from_being_undone() -> None:
    undone: list[str] = []

    def fail() -> None:
        raise PermissionError("not yours")

    stack = UndoStack()
    stack.push("binding the device", lambda: undone.append("bind"))
    stack.push("loading the module", fail)
    stack.push("making the mdev", lambda: undone.append("mdev"))
    assert stack.run() == ["could not undo loading the module: not yours"]
    assert undone == ["mdev", "bind"]
    assert stack.run() == []
