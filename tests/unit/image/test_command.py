# SPDX-License-Identifier: GPL-2.0-or-later
"""External commands end when they should."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from passthru.image.command import CommandFailed, run
from tests.unit.image import processes

if TYPE_CHECKING:
    from pathlib import Path


def test_what_it_wrote() -> None:
    """Both streams, whole; stdin is closed and the locale is C."""
    done = run(["sh", "-c", "cat; echo $LC_ALL; echo no >&2; head -c 300000 /dev/zero"], seconds=30)
    assert done.stdout == b"C\n" + bytes(300_000)
    assert done.stderr == "no\n"


def test_its_status_lines() -> None:
    """They arrive one by one, on a descriptor of their own."""
    lines: list[str] = []
    run(
        ["sh", "-c", "echo one >/dev/fd/$1; echo two >/dev/fd/$1", "sh", "{status}"],
        seconds=30,
        status_line=lines.append,
    )
    assert lines == ["one", "two"]


def test_how_it_failed() -> None:
    """Status and last words are in the error."""
    with pytest.raises(CommandFailed) as error:
        run(["sh", "-c", "echo first >&2; echo last words >&2; exit 3"], seconds=30)
    assert (error.value.status, error.value.last_words) == (3, "last words")
    with pytest.raises(CommandFailed, match="cannot be started"):
        run(["/nonexistent/tool"], seconds=30)


def test_what_lasts_too_long_is_ended(tmp_path: Path) -> None:
    """With its children."""
    with pytest.raises(CommandFailed) as error:
        run(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"], seconds=0.5)
    assert "it was not done after" in error.value.last_words
    assert_ended(int((tmp_path / "pid").read_text()))


def test_what_a_status_line_raises_ends_it(tmp_path: Path) -> None:
    """And passes through."""

    def interrupts(line: str) -> None:
        raise KeyboardInterrupt

    script = f"echo $$ > {tmp_path}/pid; echo go >/dev/fd/$1; exec sleep 600"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", script, "sh", "{status}"], seconds=60, status_line=interrupts)
    assert_ended(int((tmp_path / "pid").read_text()))


def test_it_dies_with_us(tmp_path: Path) -> None:
    """A killed passthru leaves no apt behind."""
    snippet = """
from passthru.image.command import run
run(["sh", "-c", "echo $$ >/dev/fd/$1; exec sleep 600", "sh", "{status}"], seconds=600, status_line=say)
"""
    process = processes.start(snippet, tmp_path)
    child = int(processes.line(process))
    processes.kill(process)
    assert_ended(child)


def assert_ended(pid: int) -> None:
    """Wait for the end of a process, which may take the kernel a moment."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([fd], [], [], processes.SECONDS)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        assert ended
    finally:
        os.close(fd)
