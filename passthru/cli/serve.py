# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru serve``: a device model at a vfio-user socket, for a QEMU started by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, such as mtty.")],
    socket: Annotated[Path, typer.Option("--socket", metavar="PATH", help="Where to listen.")],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="OPTION=VALUE", help="An option of the model, such as ports=1.")
    ] = [],  # noqa: B006 - typer wants a list
    trace: Annotated[Path | None, typer.Option("--trace", metavar="FILE", help="Record every message.")] = None,
) -> None:
    """Serve a device model at a vfio-user socket until interrupted."""
    from passthru.host.python import lean_command
    from passthru.scenario.overrides import parse_assignments

    argv = lean_command("passthru.emulation", *_words(model), "--socket", str(socket))
    argv += ("--options", json.dumps(parse_assignments(set_)))
    if trace is not None:
        argv += ("--trace", str(trace))
    # The server is a lean process of its own: become it.
    os.execv(argv[0], argv)


def _words(model: str) -> tuple[str, ...]:
    """The words that name a model to its server: the name itself, but for those of installed packages."""
    from passthru.emulation.models import catalogue
    from passthru.own_code import split_reference

    if model in catalogue() or split_reference(model):
        return (model,)
    from passthru.scenario.device_models import locate

    try:
        return locate(model).words
    except KeyError:
        return (model,)  # it says which there are
