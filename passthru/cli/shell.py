# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru shell``: the guest's console, with the devices of a scenario attached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, RunsDirectory, overrides


def shell(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A name, a file, or a run directory.")],
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    qemu: QemuChoice = None,
    kernel: KernelChoice = None,
    accel: AccelChoice = None,
    runs: RunsDirectory = Path("runs"),
) -> None:
    """Boot a scenario's guest with its devices attached, and hand over its shell; no check runs."""
    from passthru.guest.interact import require_terminal
    from passthru.report.choose import listener
    from passthru.report.run_directory import reports_in
    from passthru.run.host_plan import demand_guest
    from passthru.run.one_run import After
    from passthru.run.runner import Runner
    from passthru.run.signals import interruptible
    from passthru.run.what import the_request

    request = the_request(scenario, overrides(set_, qemu, kernel, accel))
    demand_guest(request.scenario, f"`passthru rig shell {scenario}` opens a shell on its host")
    require_terminal()
    with interruptible(), listener() as tell:
        (outcome,) = Runner(runs=runs, reports=reports_in, tell=tell, after=After.SHELL).run([request])
    # Nothing is judged here: only trouble and an interruption count.
    raise typer.Exit(outcome.exit_code() if outcome.judgements or outcome.interrupted else 0)
