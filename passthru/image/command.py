# SPDX-License-Identifier: GPL-2.0-or-later
"""External commands: each has a deadline, keeps its stderr for the error's cause, and dies with this process."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_LAST_BYTES = 16384


class CommandFailed(Exception):
    """A command ended badly; the one who asked for it makes a sentence of this, with this as its cause."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str, reason: str = "") -> None:
        super().__init__(f"{' '.join(argv)}: {reason or f'status {status}'}\n{stderr.strip()}")
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr
        self.reason = reason

    @property
    def last_words(self) -> str:
        """The last line it wrote to stderr, or how it ended."""
        lines = self.stderr.strip().splitlines()
        return self.reason or (lines[-1].strip() if lines else f"it ended with status {self.status}")


@dataclass(frozen=True)
class Output:
    """What a command wrote, both streams whole."""

    stdout: bytes
    stderr: str


def run(
    argv: Sequence[str | Path],
    *,
    seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    status_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> Output:
    """Run a command with closed stdin and the C locale; CommandFailed if it fails (unless ``check`` is false) or lasts.

    ``{status}`` in ``argv`` becomes the number of a descriptor whose lines go to ``status_line`` as they come; what
    that raises ends the command and passes through.
    """
    words = [str(word) for word in argv]
    status_read, status_write = os.pipe()
    words = [word.replace("{status}", str(status_write)) for word in words]
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, status_read)
        with contextlib.ExitStack() as ours:
            ours.callback(os.close, status_write)
            child = _start(words, env, cwd, status_write)
        undo.callback(_end, child)
        collected = _collect(child, status_read, time.monotonic() + seconds, status_line)
        stderr = collected["stderr"].decode(errors="replace")
        if collected["late"]:
            raise CommandFailed(words, -signal.SIGKILL, stderr, f"it was not done after {seconds:.0f} s")
        status = child.wait()
    if check and status:
        raise CommandFailed(words, status, stderr)
    return Output(bytes(collected["stdout"]), stderr)


def _start(
    words: list[str], env: Mapping[str, str] | None, cwd: Path | None, status_fd: int
) -> subprocess.Popen[bytes]:
    if shutil.which(words[0]) is None:
        raise CommandFailed(words, 127, "", "it cannot be started: there is no such program")
    guard = shutil.which("setpriv")
    dying = [guard, "--pdeathsig", "KILL"] if guard else []  # follows this thread, which waits for the child anyway
    try:
        return subprocess.Popen(
            [*dying, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            cwd=cwd,
            pass_fds=(status_fd,),
            start_new_session=True,  # a Ctrl-C ends us, and we end the child: whole, and with its children
        )
    except OSError as error:
        raise CommandFailed(words, 127, "", f"it cannot be started: {error.strerror}") from error


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    for stream in (child.stdout, child.stderr):
        if stream:
            stream.close()


@dataclass
class _Lines:
    """Cuts a byte stream into lines."""

    to: Callable[[str], None] | None
    rest: bytes = b""

    def feed(self, data: bytes) -> None:
        *whole, self.rest = (self.rest + data).split(b"\n")
        if self.to:
            for line in whole:
                self.to(line.decode(errors="replace"))


def _collect(
    child: subprocess.Popen[bytes], status_fd: int, until: float, status_line: Callable[[str], None] | None
) -> dict[str, bytearray]:
    assert child.stdout and child.stderr
    got = {"stdout": bytearray(), "stderr": bytearray(), "late": bytearray()}
    lines = _Lines(status_line)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, "stdout")
        selector.register(child.stderr, selectors.EVENT_READ, "stderr")
        selector.register(status_fd, selectors.EVENT_READ, "status")
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready and time.monotonic() >= until:
                got["late"] += b"late"
                break
            for what, _ in ready:
                data = os.read(what.fd, 65536)
                if not data:
                    selector.unregister(what.fileobj)
                elif what.data == "status":
                    lines.feed(data)
                else:
                    got[what.data] += data
                    if what.data == "stderr":
                        del got["stderr"][:-_LAST_BYTES]
    return got
