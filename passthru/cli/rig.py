# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru rig``: the emulated host of a scenario, by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from passthru.cli.options import Overrides, RunsDirectory, overrides

app = typer.Typer(help="The emulated host (rig) of a scenario, by itself.", no_args_is_help=True)


@app.callback()
def _rig() -> None:
    """The emulated host (rig) of a scenario, by itself."""


@app.command("shell")
def shell(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A scenario that has a rig, or a run directory.")],
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    runs: RunsDirectory = Path("runs"),
) -> None:
    """Boot a scenario's rig, with its hardware and modules, and hand over a root shell in it; no guest runs."""
    from passthru.events import Event
    from passthru.guest.interact import require_terminal
    from passthru.image.store import Store
    from passthru.report.choose import listener
    from passthru.report.run_directory import reports_in
    from passthru.run.directory import create
    from passthru.run.events import OfRun
    from passthru.run.rig_shell import rig_of, rig_shell
    from passthru.run.signals import interruptible, run_async
    from passthru.run.what import the_request

    require_terminal()
    request = the_request(scenario, overrides(set_, None, None, None))
    with interruptible(), listener() as show:
        directory = create(runs.absolute(), request.scenario.name)
        with reports_in(directory) as report:

            def tell(event: Event) -> None:
                report(event)
                show(OfRun(directory.path.name, event))

            run_async(rig_shell(rig_of(request, directory, Store(), tell), directory, tell))
