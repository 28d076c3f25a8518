# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the ``passthru`` command as a user does, and finding whatever it may have left behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MARK = "PASSTHRU_TEST_MARK"
LONGEST = 300.0
"""Seconds after which a command under test is taken to hang."""


def lines_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read what a command prints until a line holds ``words``; its end is the deadline."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return seen
    raise AssertionError(f"no line held {words!r}: {''.join(seen)}")


class Process(subprocess.Popen[str]):
    """A started program; leaving its context ends it, so that a test that fails does not wait for it."""

    def __exit__(self, *details: object) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*details)  # type: ignore[arg-type]


def _hear_signals() -> None:
    """A background job of a shell, or one of nohup's, is started with some signals ignored, and so would we be."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and where its run directory is if it made one."""

    status: int
    stdout: str
    stderr: str
    directory: Path
    """The run directory of the only or the last run."""

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The events of that kind, or all."""
        lines = (self.directory / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if kind in ("", event["kind"])]

    def findings(self) -> dict[str, dict[str, Any]]:
        """What each check found."""
        judgements = [event["judgement"] for event in self.events("check-ended")]
        return {judgement["check"]: judgement["finding"] for judgement in judgements}

    def __str__(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass
class Command:
    """The ``passthru`` command, with run directories below ``runs`` and every process of it marked."""

    runs: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex

    def start(self, *arguments: str, **options: Any) -> Process:
        """Start it; standard output and error are pipes."""
        env = {**os.environ, MARK: self.mark, "PASSTHRU_RUNS": str(self.runs), **self.environment}
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        given.setdefault("preexec_fn", _hear_signals)
        return Process([sys.executable, "-m", "passthru", *arguments], env=env, text=True, **given)

    def __call__(self, *arguments: str, **options: Any) -> Ended:
        """Run it to its end."""
        with self.start(*arguments, **options) as process:
            return self.ended(process)

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for its end."""
        try:
            stdout, stderr = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Ended(process.returncode, stdout or "", stderr or "", (self.runs / "latest").resolve())

    def left_running(self) -> list[str]:
        """The marked processes that still run once all of them had time to end: waited for by their descriptors."""
        left = []
        for pid, line in self._marked():
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                try:
                    if not select.select([descriptor], [], [], 10)[0]:
                        left.append(f"{pid} {line}")
                finally:
                    os.close(descriptor)
        return left

    def _marked(self) -> Iterator[tuple[int, str]]:
        wanted = f"{MARK}={self.mark}".encode()
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (path / "environ").read_bytes().split(b"\0"):
                        yield int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
