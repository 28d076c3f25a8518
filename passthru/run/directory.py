# SPDX-License-Identifier: GPL-2.0-or-later
"""The run directory: everything that one run leaves behind, enough to reproduce it elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCENARIO = "scenario.json"
LOCK = "lock.json"
TRACE_SUFFIX = ".vfio-user"


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run directory."""

    path: Path

    @property
    def scenario(self) -> Path:
        """The resolved scenario."""
        return self.path / SCENARIO

    @property
    def lock(self) -> Path:
        """Versions, digests and hashes of all that was used; ``passthru run RUNDIR`` reads it."""
        return self.path / LOCK

    @property
    def events(self) -> Path:
        """One event a line, as JSON."""
        return self.path / "events.jsonl"

    @property
    def junit(self) -> Path:
        """The verdicts as JUnit XML."""
        return self.path / "junit.xml"

    @property
    def qemu_sh(self) -> Path:
        """A script that starts the same VM with its companions."""
        return self.path / "qemu.sh"

    @property
    def qmp(self) -> Path:
        """Everything that was said over QMP."""
        return self.path / "qmp.log"

    @property
    def qemu_trace(self) -> Path:
        """QEMU's trace events, where some were asked for."""
        return self.path / "qemu-trace.log"

    def output(self, child: str) -> Path:
        """What the child process ``child`` printed."""
        return self.path / f"{child}.log"

    def trace(self, device: str) -> Path:
        """The vfio-user messages of ``device``."""
        return self.path / f"{device}{TRACE_SUFFIX}"


def is_run_directory(path: Path) -> bool:
    """Whether ``path`` was left by a run."""
    return (path / SCENARIO).is_file() and (path / LOCK).is_file()


def create(parent: Path, name: str) -> RunDirectory:
    """Make a new run directory for the scenario ``name`` below ``parent``, and point ``latest`` at it.

    Raises Unusable where it cannot be written.
    """
    with _told(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for path in _candidates(parent, name):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
        _point_latest(parent, path)
    return RunDirectory(path)


def _candidates(parent: Path, name: str) -> Iterator[Path]:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    yield parent / f"{stamp}-{name}"
    for number in itertools.count(2):
        yield parent / f"{stamp}-{name}-{number}"


def _point_latest(parent: Path, path: Path) -> None:
    # A link made aside and renamed: two runs at once never see it missing.
    aside = parent / f".latest-{os.getpid()}"
    with contextlib.suppress(OSError):
        aside.unlink(missing_ok=True)
        aside.symlink_to(path.name)
        aside.replace(parent / "latest")


@contextlib.contextmanager
def _told(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unusable(
            f"cannot write a run directory in {parent}: {reason}; name another place with --runs DIR"
        ) from error
