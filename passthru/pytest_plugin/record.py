# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of a guest while tests use it, to be shown when one of them fails."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.guest.commands import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from passthru.guest.commands import Completed
    from passthru.guest.kernel_log import KernelLog

COMMANDS = 5
COMMAND_CHARACTERS = 120
OUTPUT_LINES = 20
CONSOLE_LINES = 20


@dataclass
class Command:
    """A command in the guest; ``ended`` says how, and is empty while it runs."""

    text: str
    began: float
    ended: str = ""
    output: tuple[tuple[str, bytes], ...] = ()

    def completed(self, completed: Completed) -> None:
        """It came to its end."""
        self._end(f"status {completed.status}", completed.stdout, completed.stderr)

    def broke(self, error: BaseException) -> None:
        """It did not come to its end."""
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, CommandFailed):
            self.completed(error.completed)
        else:
            self._end(words, getattr(error, "stdout", b""), getattr(error, "stderr", b""))

    def lines(self) -> Iterator[str]:
        """For a person."""
        text = " ".join(self.text.split())
        cut = "..." if len(text) > COMMAND_CHARACTERS else ""
        yield f"$ {_printable(text[:COMMAND_CHARACTERS])}{cut}   ({self.ended or 'still running'})"
        for name, data in self.output:
            shown = [_printable(line) for line in data.decode("utf-8", "backslashreplace").splitlines()]
            cut = f" (the last {OUTPUT_LINES} of {len(shown)} lines)" if len(shown) > OUTPUT_LINES else ""
            if shown:
                yield f"  {name}{cut}:"
                yield from (f"  | {line}" for line in shown[-OUTPUT_LINES:])

    def _end(self, how: str, stdout: bytes, stderr: bytes) -> None:
        self.ended = f"{how}, {time.monotonic() - self.began:.2f} s"
        self.output = (("stdout", stdout), ("stderr", stderr))


@dataclass(eq=False)
class Record:
    """One guest; ``kernel_log`` comes once it has been started, ``used`` is what it is made of."""

    name: str
    directory: Path
    used: str = ""
    notes: list[str] = field(default_factory=list)
    commands: deque[Command] = field(default_factory=lambda: deque(maxlen=COMMANDS))
    count: int = 0
    """Commands so far."""
    count_before: int = 0
    """Commands before the running test."""
    kernel_log: KernelLog | None = None
    died_in: str = ""
    """The test in which the guest was found dead."""

    def command(self, text: str) -> Command:
        """A command begins."""
        command = Command(text, time.monotonic())
        self.commands.append(command)
        self.count += 1
        return command

    def sections(self) -> Iterator[tuple[str, str]]:
        """Titles and texts for the report of a failed test."""
        # Those of the test; or else what came before, since that may be why the test did not get as far.
        count = min(self.count - self.count_before, len(self.commands)) or len(self.commands)
        if count:
            lines = [line for command in list(self.commands)[-count:] for line in command.lines()]
            yield f"passthru {self.name}: the last commands in the guest", "\n".join(lines)
        console = self._console()
        if console:
            yield f"passthru {self.name}: the last lines of the guest's kernel", "\n".join(map(_printable, console))
        lines = [str(self.directory), *([self.used] if self.used else []), *self.notes]
        if (self.directory / "qemu.sh").exists():
            lines.append(f"the same guest by hand: {self.directory / 'qemu.sh'}")
        yield f"passthru {self.name}: the run directory", "\n".join(lines)

    def _console(self) -> Sequence[str]:
        if self.kernel_log is not None:
            return self.kernel_log.last_lines(CONSOLE_LINES)
        try:  # it never came up, and its recording is what is left of it
            return (self.directory / "ttyS0.log").read_text(errors="replace").splitlines()[-CONSOLE_LINES:]
        except OSError:
            return ()


def _printable(text: str) -> str:
    # A guest's output may hold anything, and this goes to a terminal.
    return "".join(
        character if character.isprintable() or character == "\t" else f"\\x{ord(character):02x}" for character in text
    )
