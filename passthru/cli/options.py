# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario, such as device.mtty0.ports=1."),
]
QemuChoice = Annotated[
    str | None, typer.Option("--qemu", metavar="QEMU", help="A binary's path, debian:SUITE, or auto.")
]
KernelChoice = Annotated[
    str | None,
    typer.Option("--kernel", metavar="KERNEL", help="debian:SUITE[/cloud], own, a bzImage, or a build tree."),
]
AccelChoice = Annotated[str | None, typer.Option("--accel", metavar="ACCEL", help="auto, kvm or tcg.")]
RunsDirectory = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Where run directories are made.", envvar="PASSTHRU_RUNS")
]


def overrides(set_: list[str], qemu: str | None, kernel: str | None, accel: str | None) -> list[str]:
    """All overrides of the scenario as ``--set`` texts: those of the named options come last and so win."""
    named = {"guest.qemu": qemu, "guest.kernel": kernel, "guest.accel": accel}
    return [*set_, *(f"{key}={_quoted(value)}" for key, value in named.items() if value is not None)]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
