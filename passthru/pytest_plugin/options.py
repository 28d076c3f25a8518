# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin's options, each also a key of pytest's ini file: ``--passthru-qemu`` is ``passthru_qemu``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_TEXTS = {
    "qemu": ("QEMU", "for all guests: a binary's path, debian:SUITE, or auto"),
    "kernel": ("KERNEL", "for all guests: debian:SUITE[/cloud], own, a bzImage, or a build tree"),
    "accel": ("ACCEL", "for all guests: auto, kvm or tcg"),
    "runs": ("DIR", "where run directories are made (default: $PASSTHRU_RUNS, or runs/ in pytest's root directory)"),
}
_NO_SKIP = "tests that would be skipped for a missing capability fail"


@dataclass(frozen=True)
class Options:
    """What the user asked for, of all guests."""

    qemu: str | None
    kernel: str | None
    accel: str | None
    runs: Path
    no_skip: bool

    @property
    def overrides(self) -> tuple[str, ...]:
        """As ``--set`` texts, to come after all others."""
        named = {"guest.qemu": self.qemu, "guest.kernel": self.kernel, "guest.accel": self.accel}
        return tuple(f"{key}={_quoted(value)}" for key, value in named.items() if value is not None)


def add(parser: pytest.Parser) -> None:
    """Declare options and ini keys."""
    group = parser.getgroup("passthru", "guests booted by passthru")
    for name, (metavar, text) in _TEXTS.items():
        group.addoption(f"--passthru-{name}", metavar=metavar, help=text)
        parser.addini(f"passthru_{name}", text)
    group.addoption("--passthru-no-skip", action="store_true", default=None, help=_NO_SKIP)
    parser.addini("passthru_no_skip", _NO_SKIP, type="bool", default=False)


def read(config: pytest.Config) -> Options:
    """The command line's words, else the ini file's."""

    def text(name: str) -> str | None:
        given = config.getoption(f"passthru_{name}") or config.getini(f"passthru_{name}")
        return str(given) if given else None

    runs = text("runs") or os.environ.get("PASSTHRU_RUNS") or config.rootpath / "runs"
    no_skip = config.getoption("passthru_no_skip") or config.getini("passthru_no_skip")
    return Options(text("qemu"), text("kernel"), text("accel"), Path(runs), bool(no_skip))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
