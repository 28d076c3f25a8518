# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lock file demands of a run that repeats another: the same versions, kernels and code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.check import registry
from passthru.errors import Unusable, UserMistake
from passthru.scenario import device_models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.image.kernel import Kernel
    from passthru.scenario.models import Scenario, ServedDevice

FORMAT = 1


@dataclass(frozen=True)
class Pins:
    """What a lock file demands; None: whatever the scenario says."""

    qemu: Mapping[str, Any] | None = None
    kernel: Mapping[str, Any] | None = None
    packages: Mapping[str, Any] | None = None
    emulator: Mapping[str, Any] | None = None
    """The QEMU that emulates the rig."""
    host_kernel: Mapping[str, Any] | None = None
    """The rig's kernel."""
    rig: Mapping[str, Any] | None = None
    """The rig's image."""
    code: Mapping[str, str] = field(default_factory=dict)


def read_pins(path: Path) -> Pins:
    """The pins in a lock file; raises UserMistake where it is none."""
    try:
        lock = json.loads(path.read_bytes())
        if lock["format"] != FORMAT:
            raise UserMistake(f"{path}: is a lock file of another passthru (format {lock['format']}); run its scenario")
        packages, code = lock["image"]["packages"], dict(lock.get("code", {}))
        host = lock.get("host") or {}
        return Pins(
            qemu=lock["qemu"],
            kernel=lock["kernel"],
            packages=packages,
            emulator=host.get("emulator"),
            host_kernel=host.get("kernel"),
            rig=host.get("image"),
            code=code,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserMistake(f"{path}: is no lock file of a run: {error}; run the scenario by its name") from error


def demand_same_code(scenario: Scenario, code: Mapping[str, str]) -> None:
    """Raise Unusable where a model or check of the user's own is not the one that a lock file names."""
    for file, digest in code_digests(scenario).items():
        if file in code and digest != code[file]:
            raise Unusable(
                f"{file} has changed since the run that is to be repeated (sha256 {digest[:12]}, then"
                f" {code[file][:12]}); bring it back, or run the scenario itself"
            )


def code_digests(scenario: Scenario) -> dict[str, str]:
    """The user's files that models and checks come from, with their sha256. Raises UserMistake, OSError."""
    files = {file for device in scenario.served.values() if not device.companion for file in _files(device)}
    files |= {file for check in scenario.check.values() for file in registry.files(check.use)}
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in sorted(files)}


def _files(device: ServedDevice) -> tuple[str, ...]:
    return device_models.locate(device.model).files


def demand_same(kernel: Kernel, pin: Mapping[str, Any]) -> None:
    """Raise Unusable where a kernel of the user's own is not the one that a lock file names."""
    if kernel.identity != pin["identity"]:
        raise Unusable(
            f"the kernel {kernel.source} has changed since the run that is to be repeated (sha256 "
            f"{kernel.identity[:12]}, then {pin['identity'][:12]}); bring it back, or name one with --kernel"
        )
