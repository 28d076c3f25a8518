# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a short-lived child's words go: to memory, so that no death of anybody leaves a file behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

_LONGEST = 160


class Output:
    """A file in memory that another process of this user can open by its path; gone when the context is left."""

    def __enter__(self) -> Self:
        self._fd = os.memfd_create("passthru-output", os.MFD_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def path(self) -> Path:
        """For ``ChildSpec.output`` on this machine (proc(5), /proc/PID/fd)."""
        return Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def first_line(self) -> str:
        """The first line that is not empty: KVM's error, which its registers follow."""
        return first_line(os.pread(self._fd, 8192, 0))

    def last_line(self) -> str:
        """The last line that is not empty."""
        size = os.fstat(self._fd).st_size
        return last_line(os.pread(self._fd, 8192, max(0, size - 8192)))


def first_line(text: bytes) -> str:
    """The first line that is not empty, of what can be shown, shortened."""
    return _first(text.decode(errors="ignore").splitlines())


def last_line(text: bytes) -> str:
    """The last line that is not empty, of what can be shown, shortened."""
    return _first(reversed(text.decode(errors="ignore").splitlines()))


def _first(lines: Iterable[str]) -> str:
    clean = ("".join(c for c in line if c.isprintable()).strip() for line in lines)
    return next((line[:_LONGEST] for line in clean if line), "")
