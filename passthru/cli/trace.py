# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru trace``: the vfio-user messages of a run, decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trace(
    run: Annotated[Path, typer.Argument(metavar="RUNDIR", help="A run directory, or one trace file.")],
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="A device's id; all by default.")] = None,
) -> None:
    """Print the vfio-user messages between QEMU and a device server, one a line."""
    from passthru.errors import UserMistake
    from passthru.run.directory import TRACE_SUFFIX
    from passthru.vfio.trace_lines import read_trace

    files = [run] if run.is_file() else sorted(run.glob(f"*{TRACE_SUFFIX}"))
    if device is not None:
        files = [file for file in files if file.name == f"{device}{TRACE_SUFFIX}"]
    if not files:
        whose = f" of a device {device}" if device else ""
        raise UserMistake(f"{run} holds no trace{whose}; name a run directory such as runs/latest")
    for file in files:
        for line in read_trace(file):
            typer.echo(f"{file.name.removesuffix(TRACE_SUFFIX)}  {line}" if len(files) > 1 else line)
