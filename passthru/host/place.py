# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a worker is: how its children's streams reach us, where files of ours are there, and how Python is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.host.python import lean_command, run_module
from passthru.host.wiring import ByDescriptors, Wiring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Place:
    """This machine, unless a subclass says otherwise."""

    wiring: Wiring

    def path_of(self, path: Path) -> str:
        """Where a file of this machine is there."""
        return str(path)

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a module of passthru there."""
        return lean_command(module, *arguments)


@dataclass(frozen=True)
class InRig(Place):
    """A rig, which holds the files that it was booted with; ``files`` maps those of this machine to their paths.

    ``python`` is its Python, and ``code`` the directory that holds passthru.
    """

    files: Mapping[Path, str]
    python: str
    code: str

    def path_of(self, path: Path) -> str:
        """Where a file of this machine is in the rig. Raises PassthruError for one that it was not booted with."""
        for known in (path, *path.parents):
            if known in self.files:
                return str(PurePosixPath(self.files[known]) / path.relative_to(known))
        raise PassthruError(f"the rig was booted without {path}, which is needed there")

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a module of passthru there, by the rig's Python."""
        return run_module((self.python,), self.code, module, *arguments)


HERE = Place(ByDescriptors())
