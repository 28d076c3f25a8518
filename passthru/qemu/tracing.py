# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's trace events: which there are, and the arguments that write some of them into a file.

Source: QEMU's docs/devel/tracing.rst; Debian's builds have the ``log`` backend.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
from typing import TYPE_CHECKING

from passthru.errors import Unusable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from passthru.qemu.binary import Qemu

HELP_SECONDS = 30.0


def trace_arguments(qemu: Qemu, patterns: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """The arguments by which ``qemu`` writes all events that match one of ``patterns`` (``vfio*``) into ``file``, or
    prints them where there is none.

    Raises UserMistake for a pattern that matches none, Unusable when QEMU does not tell its events.
    """
    if not patterns:
        return ()
    known = _events(qemu)
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise UserMistake(
                f"--trace {pattern}: {qemu.title} has no such trace event; its option `-trace help` lists them"
            )
    words = tuple(word for pattern in patterns for word in ("-trace", pattern))
    return words if file is None else (*words, "-D", str(file))


def _events(qemu: Qemu) -> list[str]:
    try:
        told = subprocess.run(
            [*qemu.command, "-trace", "help"],
            env={**os.environ, **qemu.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HELP_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unusable(f"{qemu.title} does not tell its trace events ({error}); leave --trace out") from error
    return told.stdout.decode(errors="replace").split()
