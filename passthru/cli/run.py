# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru run``: run scenarios and judge."""

from __future__ import annotations

import random
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, RunsDirectory, overrides
from passthru.errors import UserMistake


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
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write verdicts as JUnit XML.")] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="A skipped check makes the exit code 125.")] = False,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="For git bisect run: 128 instead of 2, which ends the bisection.")
    ] = False,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help="So many runs at once.")] = 1,
    repeat: Annotated[int, typer.Option("--repeat", min=1, metavar="N", help="Run each scenario so many times.")] = 1,
    shuffle: Annotated[
        int | None, typer.Option("--shuffle", metavar="SEED", help="Run in a random order, the same for a seed.")
    ] = None,
    trace: Annotated[
        list[str], typer.Option("--trace", metavar="PATTERN", help="QEMU's trace events, such as 'vfio*', to a file.")
    ] = [],  # noqa: B006 - typer wants a list
    gdb: Annotated[bool, typer.Option("--gdb", help="The guest waits for gdb; implies --no-deadlines.")] = False,
    no_deadlines: Annotated[bool, typer.Option("--no-deadlines", help="Wait without end, for a debugger.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the guest running after the checks, until Ctrl-C.")
    ] = False,
    on_failure: Annotated[
        OnFailure, typer.Option("--on-failure", help="After a failed check: stop, or hand over the guest's shell.")
    ] = OnFailure.STOP,
) -> None:
    """Run scenarios: boot the guest with its devices, run the checks, judge."""
    from passthru.guest.interact import require_terminal
    from passthru.report import junit as junit_report
    from passthru.report.choose import listener
    from passthru.report.run_directory import reports_in
    from passthru.report.words import summary_lines
    from passthru.run.handles import Handles
    from passthru.run.one_run import After
    from passthru.run.outcome import worst
    from passthru.run.runner import Runner
    from passthru.run.signals import interruptible
    from passthru.run.what import requests

    handles = Handles(trace=tuple(trace), gdb=gdb, no_deadlines=no_deadlines, keep=keep)
    after = After.CHECKS
    if jobs > 1:
        alone = {"--on-failure shell": on_failure is OnFailure.SHELL, "--gdb": gdb, "--keep": keep}
        for option in (option for option, given in alone.items() if given):
            raise UserMistake(f"{option} is for one guest at a time, so it cannot go with -j {jobs}; leave one out")
    if on_failure is OnFailure.SHELL:
        require_terminal()
        after = After.CHECKS_THEN_SHELL_ON_FAILURE
    asked = requests(scenarios, overrides(set_, qemu, kernel, accel)) * repeat
    if shuffle is not None:
        random.Random(shuffle).shuffle(asked)
    with interruptible(), listener(brief=jobs > 1 or repeat > 1) as tell:
        outcomes = Runner(runs, reports_in, tell, after, jobs, handles).run(asked)
    if junit is not None:
        junit_report.write(junit, outcomes)
    if len(asked) > 1:
        typer.echo("\n".join(summary_lines(outcomes)))
    raise typer.Exit(worst(outcome.exit_code(skips_count=no_skip) for outcome in outcomes))
