# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock file of a run directory: the versions and hashes of all that was used, to be used again (see ``pins``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passthru.run.pins import FORMAT, code_digests

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.run.plan import Plan


def write_lock(path: Path, plan: Plan) -> None:
    """Write what ``plan`` uses; raises OSError."""
    lock = {
        "format": FORMAT,
        "qemu": plan.qemu.pin,
        "kernel": _kernel(plan.kernel),
        "image": {
            "pin": plan.image.pin,
            "packages": plan.image.packages_pin,
            "modules": plan.image.modules,
            "built": plan.image.built,
        },
        "accelerator": plan.accelerator.name,
        "host": None
        if plan.rig is None
        else {
            "emulator": plan.rig.emulator.pin,
            "kernel": _kernel(plan.rig.kernel),
            "image": plan.rig.image.pins,
            "modules": plan.rig.image.modules,
        },
        "code": code_digests(plan.scenario),
    }
    path.write_text(json.dumps(lock, indent=2) + "\n")


def _kernel(kernel: Kernel) -> dict[str, object]:
    return {"source": kernel.source, "release": kernel.release, "identity": kernel.identity, "root": kernel.pin}
