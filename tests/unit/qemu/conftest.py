# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache of the test's own, programs that look like QEMUs, and a QEMU as it is after it answered."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.image.kernel import Kernel
from passthru.image.store import Store
from passthru.qemu.binary import Qemu

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.events import Event

STAND_IN = Path(__file__).parent / "stand_in.py"


@dataclass(frozen=True)
class StandIn:
    """An executable made for a test."""

    path: Path

    @property
    def starts(self) -> list[list[str]]:
        """The arguments of each of its starts."""
        log = self.path.with_name(f"{self.path.name}.starts")
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], Path]:
    """Makes an executable file of that name with that text."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def stand_in(script: Callable[[str, str], Path]) -> Callable[..., StandIn]:
    """Makes a program that answers as QEMU does; keywords change what it answers."""

    def make(name: str = "qemu-system-x86_64", **changes: Any) -> StandIn:
        text = STAND_IN.read_text().partition("\n")[2]
        path = script(name, f"#!{sys.executable} -IS\n{text}")
        what = {
            "version": "11.1.3",
            "arch": "x86_64",
            "devices": ["vfio-user-pci", "edu"],
            "machines": ["pc", "q35"],
            "accelerators": ["tcg", "kvm"],
            "starts": f"{path}.starts",
            **changes,
        }
        Path(f"{path}.json").write_text(json.dumps(what))
        return StandIn(path)

    return make


@pytest.fixture
def qemu() -> Qemu:
    """Nothing that could be started."""
    return Qemu(
        version="11.1.3",
        package="",
        arch="x86_64",
        devices=frozenset({"vfio-user-pci", "vfio-pci", "pvpanic", "virtio-serial-pci", "virtconsole"}),
        machines=frozenset({"pc", "q35"}),
        accelerators=frozenset({"tcg", "kvm"}),
        source="/opt/qemu",
        command=("/opt/qemu", "-L", "/opt/firm ware"),
        identity="0123",
        env={"QEMU_MODULE_DIR": "/opt/modules"},
    )


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """Nothing that could be booted."""
    return Kernel(tmp_path / "vmlinuz", "6.1.0", None, None, "amd64", "made up", "kernel-1")
