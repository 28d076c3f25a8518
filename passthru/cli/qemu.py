# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru qemu``: the QEMUs of this machine and those that were fetched."""

from __future__ import annotations

import typer

app = typer.Typer(help="The QEMUs that passthru knows.", no_args_is_help=True)

INTERESTING = ("vfio-user-pci", "vfio-pci", "vfio-platform")


@app.callback()
def _qemu() -> None:
    """The QEMUs that passthru knows."""


@app.command("list")
def list_() -> None:
    """List every QEMU on PATH and every one that was fetched, and what each can do."""
    from passthru.image.store import Store
    from passthru.qemu.find import list_all
    from passthru.report.table import table

    rows = []
    for entry in list_all(Store()):
        qemu = entry.qemu
        if qemu is None:
            rows.append((entry.source, "-", "-", "-", entry.trouble))
            continue
        devices = ", ".join(name for name in INTERESTING if name in qemu.devices) or "-"
        rows.append((entry.source, qemu.version, qemu.arch, ", ".join(sorted(qemu.accelerators)), devices))
    if rows:
        typer.echo(table(("QEMU", "version", "emulates", "accelerators", "assigns devices by"), rows))
    else:
        typer.echo("no QEMU on PATH and none fetched; `passthru fetch` gets one, and so does the first run")
