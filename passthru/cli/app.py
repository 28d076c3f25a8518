# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of commands. Command modules import what they need when they run, so that ``--help`` stays quick."""

from __future__ import annotations

import typer

from passthru.cli import (
    bind,
    cache,
    conform,
    doctor,
    dprc,
    fetch,
    mdev,
    qemu,
    recover,
    rig,
    run,
    scenarios,
    serve,
    shell,
    trace,
)

app = typer.Typer(
    name="passthru",
    help="Boot QEMU guests with passed-through devices and judge, from inside the guest, whether the assignment works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 passed, 1 failed, 2 usage or scenario wrong, 125 could not judge, 130 interrupted.",
)
app.command("run")(run.run)
app.command("shell")(shell.shell)
app.command("conform")(conform.conform)
app.command("list")(scenarios.list_)
app.command("show")(scenarios.show)
app.command("schema")(scenarios.schema)
app.command("doctor")(doctor.doctor)
app.command("trace")(trace.trace)
app.command("fetch")(fetch.fetch)
app.command("serve")(serve.serve)
app.command("bind")(bind.bind)
app.command("unbind")(bind.unbind)
app.command("recover")(recover.recover)
app.add_typer(mdev.app, name="mdev")
app.add_typer(dprc.app, name="dprc")
app.add_typer(rig.app, name="rig")
app.add_typer(qemu.app, name="qemu")
app.add_typer(cache.app, name="cache")
