# SPDX-License-Identifier: GPL-2.0-or-later
"""What came of a command in a guest."""

from __future__ import annotations

from dataclasses import dataclass

from passthru.errors import DeadlineExceeded, PassthruError

SHOWN_BYTES = 4000
"""How much of an output an error message shows: its end."""


@dataclass(frozen=True)
class Completed:
    """A command that ended: its outputs, byte for byte, and its exit status (128 + the signal that ended it)."""

    stdout: bytes
    stderr: bytes
    status: int

    @property
    def text(self) -> str:
        """stdout as text; what is no UTF-8 is replaced."""
        return self.stdout.decode("utf-8", "replace")


class CommandFailed(PassthruError):
    """A command ended with another status than was asked for."""

    def __init__(self, command: str, completed: Completed, wanted: str = "status 0") -> None:
        super().__init__(
            f"the guest command {shortened(command)} ended with status {completed.status} ({wanted} was wanted)"
            + outputs(completed.stdout, completed.stderr)
        )
        self.command = command
        self.completed = completed


class CommandTimeout(DeadlineExceeded):
    """A command did not end in time; ``stdout`` and ``stderr`` are what it had printed by then."""

    def __init__(self, command: str, seconds: float, stdout: bytes, stderr: bytes, fate: str) -> None:
        super().__init__(f"the guest command {shortened(command)} to end", seconds)
        self.args = (f"{self.args[0]}; {fate}{outputs(stdout, stderr)}",)
        self.command = command
        self.stdout = stdout
        self.stderr = stderr


class CommandLost(PassthruError):
    """A command killed the shell agent that watched over it, so its exit status is not known."""

    def __init__(self, command: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(
            f"the shell agent was killed in the guest while it ran {shortened(command)}: the exit status is lost"
            + (outputs(stdout, stderr) if stdout or stderr else "")
        )
        self.command = command
        self.stdout = stdout
        self.stderr = stderr


class OutputIncomplete(PassthruError):
    """The guest's memory for outputs was full while a command ran; ``completed`` holds what was kept."""

    def __init__(self, command: str, completed: Completed) -> None:
        kept = len(completed.stdout) + len(completed.stderr)
        super().__init__(
            f"the guest had no memory left for the output of {shortened(command)}: {kept} bytes were kept and some may "
            "be missing; let it print less, or give the guest more memory"
        )
        self.command = command
        self.completed = completed


def shortened(command: str) -> str:
    """A command as it is shown in a sentence: one line, in quotes."""
    line = " ".join(command.split())
    return f"`{line}`" if len(line) <= 200 else f"`{line[:200]}...`"


def outputs(stdout: bytes, stderr: bytes) -> str:
    """Both outputs as indented lines under a sentence, each cut to its end."""
    shown = []
    for name, data in (("stdout", stdout), ("stderr", stderr)):
        if not data:
            shown.append(f"\n    {name}: (empty)")
            continue
        cut = f" (the last {SHOWN_BYTES} of {len(data)} bytes)" if len(data) > SHOWN_BYTES else ""
        text = data[-SHOWN_BYTES:].decode("utf-8", "replace")
        shown.append(f"\n    {name}{cut}:" + "".join(f"\n    | {line}" for line in text.splitlines()))
    return "".join(shown)
