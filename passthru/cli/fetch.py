# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru fetch``: get everything that scenarios need, so that they run offline afterwards."""

from __future__ import annotations

from typing import Annotated

import typer

from passthru.cli.options import AccelChoice, KernelChoice, Overrides, QemuChoice, overrides


def fetch(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCENARIO...]", help="By default all that come with passthru."),
    ] = None,
    set_: Overrides = [],  # noqa: B006 - typer wants a list
    qemu: QemuChoice = None,
    kernel: KernelChoice = None,
    accel: AccelChoice = None,
    update: Annotated[bool, typer.Option("--update", help="Fetch what suites offer today, not what they did.")] = False,
) -> None:
    """Fetch QEMU and kernels, and build images; runs need no network afterwards."""
    from passthru.events import Note
    from passthru.image.guest import floor_image
    from passthru.image.store import Store
    from passthru.report.choose import listener
    from passthru.run.plan import Plan, plan_run
    from passthru.run.signals import interruptible
    from passthru.run.what import requests
    from passthru.scenario.library import names

    asked = requests(scenarios or names(), overrides(set_, qemu, kernel, accel))
    store = Store()
    with interruptible(), listener() as tell:
        floor_image(store, tell)  # tries KVM out, maybe on another machine or when this one permits it
        for request in asked:
            plan = plan_run(request, store, tell, update=update)
            name = request.scenario.name
            if isinstance(plan, Plan):
                tell(Note(f"{name}: {plan.qemu.title}, kernel {plan.kernel.release}, {plan.image.path}"))
            elif plan.rig is not None:
                rig = plan.rig
                tell(Note(f"{name}: {rig.emulator.title}, kernel {rig.kernel.release}, {rig.image.boot}"))
