# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru doctor``: what this machine can run, and what each missing thing would take."""

from __future__ import annotations

from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, overrides


def doctor(
    scenario: Annotated[str | None, typer.Argument(metavar="[SCENARIO]", help="Whether this one can run.")] = None,
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    qemu: QemuChoice = None,
    kernel: KernelChoice = None,
    accel: AccelChoice = None,
) -> None:
    """Say what this machine can run and what each missing thing would take; exit code 125 if something is missing."""
    from passthru.image.store import Store
    from passthru.report.table import table
    from passthru.run.diagnosis import State
    from passthru.run.doctor import examine
    from passthru.run.outcome import ExitCode
    from passthru.run.signals import interruptible
    from passthru.run.what import the_request

    asked = the_request(scenario, overrides(set_, qemu, kernel, accel)).scenario if scenario else None
    with interruptible():
        found = list(examine(Store(), asked))
    rows = []
    for diagnosis in found:
        rows.append((diagnosis.state.value, diagnosis.what, diagnosis.text))
        if diagnosis.remedy:
            rows.append(("", "", f"-> {diagnosis.remedy}"))
    typer.echo(table(("state", "what", "how it stands"), rows))
    if any(diagnosis.state is State.MISSING for diagnosis in found):
        raise typer.Exit(ExitCode.NOT_JUDGED)
