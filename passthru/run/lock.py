# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock file of a run directory: the versions and hashes of all that was used, to be used again (see ``pins``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from passthru.run.pins import FORMAT, code_digests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.run.hosts import HostPlan
    from passthru.run.plan import Plan
    from passthru.run.rig_plan import RigPlan


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
        "host": plan.rig and _host(plan.rig),
        "code": code_digests(plan.scenario),
    }
    path.write_text(json.dumps(lock, indent=2) + "\n")


def write_host_lock(path: Path, plan: HostPlan, code: Mapping[str, str]) -> None:
    """Write what ``plan`` uses where there is no guest; ``code`` are the user's files with their sha256. Raises
    OSError."""
    lock = {
        "format": FORMAT,
        "qemu": None,
        "kernel": None,
        "image": {"packages": None},
        "host": plan.rig and _host(plan.rig),
        "code": dict(code),
    }
    path.write_text(json.dumps(lock, indent=2) + "\n")


def _host(rig: RigPlan) -> dict[str, object]:
    return {
        "emulator": rig.emulator.pin,
        "kernel": _kernel(rig.kernel),
        "image": rig.image.pins,
        "modules": rig.image.modules,
    }


def _kernel(kernel: Kernel) -> dict[str, object]:
    return {"source": kernel.source, "release": kernel.release, "identity": kernel.identity, "root": kernel.pin}
