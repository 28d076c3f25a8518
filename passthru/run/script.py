# SPDX-License-Identifier: GPL-2.0-or-later
"""The run directory's ``qemu.sh``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.qemu.script import qemu_sh
from passthru.run.assembly import machine, served_devices
from passthru.run.companions import by_hand
from passthru.run.host_plan import HostSide

if TYPE_CHECKING:
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan


def write_script(plan: Plan | HostSide, directory: RunDirectory) -> None:
    """Write a script that starts the guest of ``plan`` with its device servers, or its rig, in whose shell the steps
    that it shows prepare the devices and start the guest, if there is one. Nothing starts on this machine where a run
    has neither. Raises OSError.
    """
    if plan.rig is None:
        if isinstance(plan, HostSide):
            return
        vm = machine(plan, lambda path: path, served_devices(plan))
        text = qemu_sh(plan.qemu, plan.accelerator, vm, by_hand(plan.scenario))
    else:
        from passthru.run.rig_script import rig_sh

        text = rig_sh(plan, plan.rig)
    directory.qemu_sh.write_text(text)
    directory.qemu_sh.chmod(0o755)
