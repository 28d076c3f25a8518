# SPDX-License-Identifier: GPL-2.0-or-later
"""The run directory's ``qemu.sh``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.qemu.script import qemu_sh
from passthru.run.assembly import machine
from passthru.run.companions import by_hand

if TYPE_CHECKING:
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan


def write_script(plan: Plan, directory: RunDirectory) -> None:
    """Write a script that starts the guest of ``plan`` with its device servers; raises OSError."""
    companions = by_hand(plan.scenario)
    directory.qemu_sh.write_text(qemu_sh(plan.qemu, plan.accelerator, machine(plan), companions))
    directory.qemu_sh.chmod(0o755)
