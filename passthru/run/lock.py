# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock file of a run directory: the versions and hashes of all that was used, to be used again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.run.plan import Plan

FORMAT = 1


@dataclass(frozen=True)
class Pins:
    """What a lock file demands; None: whatever the scenario says."""

    qemu: Mapping[str, Any] | None = None
    kernel: Mapping[str, Any] | None = None
    packages: Mapping[str, Any] | None = None


def write_lock(path: Path, plan: Plan) -> None:
    """Write what ``plan`` uses; raises OSError."""
    kernel = plan.kernel
    lock = {
        "format": FORMAT,
        "qemu": plan.qemu.pin,
        "kernel": {"source": kernel.source, "release": kernel.release, "identity": kernel.identity, "root": kernel.pin},
        "image": {"pin": plan.image.pin, "packages": plan.image.packages_pin, "modules": plan.image.modules},
        "accelerator": plan.accelerator.name,
    }
    path.write_text(json.dumps(lock, indent=2) + "\n")


def read_pins(path: Path) -> Pins:
    """The pins in a lock file; raises UserMistake where it is none."""
    try:
        lock = json.loads(path.read_bytes())
        if lock["format"] != FORMAT:
            raise UserMistake(f"{path}: is a lock file of another passthru (format {lock['format']}); run its scenario")
        return Pins(qemu=lock["qemu"], kernel=lock["kernel"], packages=lock["image"]["packages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserMistake(f"{path}: is no lock file of a run: {error}; run the scenario by its name") from error


def demand_same(kernel: Kernel, pin: Mapping[str, Any]) -> None:
    """Raise Unusable where a kernel of the user's own is not the one that a lock file names."""
    if kernel.identity != pin["identity"]:
        raise Unusable(
            f"the kernel {kernel.source} has changed since the run that is to be repeated (sha256 "
            f"{kernel.identity[:12]}, then {pin['identity'][:12]}); bring it back, or name one with --kernel"
        )
