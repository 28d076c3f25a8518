# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru run``: run scenarios and judge."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, RunsDirectory, overrides


class OnFailure(Enum):
    """What to do after a failed check."""

    STOP = "stop"
    SHELL = "shell"


def run(
    scenarios: Annotated[
        list[str], typer.Argument(metavar="SCENARIO...", help="Names, files, directories of files, or run directories.")
    ],
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    qemu: QemuChoice = None,
    kernel: KernelChoice = None,
    accel: AccelChoice = None,
    runs: RunsDirectory = Path("runs"),
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="A skipped check makes the exit code 125.")] = False,
    on_failure: Annotated[
        OnFailure, typer.Option("--on-failure", help="After a failed check: stop, or hand over the guest's shell.")
    ] = OnFailure.STOP,
) -> None:
    """Run scenarios: boot the guest with its devices, run the checks, judge."""
    from passthru.guest.interact import require_terminal
    from passthru.report import junit as junit_report
    from passthru.report.choose import listener
    from passthru.report.run_directory import reports_in
    from passthru.run.outcome import ExitCode, worst
    from passthru.run.runner import After, Runner
    from passthru.run.signals import interruptible
    from passthru.run.what import requests

    after = After.CHECKS
    if on_failure is OnFailure.SHELL:
        require_terminal()
        after = After.CHECKS_THEN_SHELL_ON_FAILURE
    asked = requests(scenarios, overrides(set_, qemu, kernel, accel))
    outcomes = []
    with interruptible(), listener() as tell:
        runner = Runner(runs=runs, reports=reports_in, tell=tell, after=after)
        for request in asked:
            outcomes.append(runner.run(request))
            if outcomes[-1].interrupted:
                break
    if junit is not None:
        junit_report.write(junit, outcomes)
    codes = [outcome.exit_code(skips_count=no_skip) for outcome in outcomes]
    raise typer.Exit(worst(codes) if codes else ExitCode.NOT_JUDGED)
