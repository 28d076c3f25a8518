# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru list``, ``show`` and ``schema``: the scenarios themselves."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, overrides


def list_() -> None:
    """List the scenarios that come with passthru."""
    from passthru.scenario.library import names

    found = names()
    width = max((len(name) for name in found), default=0)
    for name, summary in found.items():
        typer.echo(f"{name:<{width}}  {summary}")


def show(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A name, a file, or a run directory.")],
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    qemu: QemuChoice = None,
    kernel: KernelChoice = None,
    accel: AccelChoice = None,
) -> None:
    """Show a scenario as it would run: includes merged, overrides applied, defaults filled in."""
    from passthru.run.what import requests
    from passthru.scenario.loading import resolved

    for request in requests([scenario], overrides(set_, qemu, kernel, accel)):
        typer.echo(json.dumps(resolved(request.scenario), indent=2))


def schema() -> None:
    """Print the JSON schema of scenario files, for editors."""
    from passthru.scenario.schema import schema as scenario_schema

    typer.echo(json.dumps(scenario_schema(), indent=2))
