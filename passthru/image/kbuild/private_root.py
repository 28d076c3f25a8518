# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of an unpacked Debian root, started on whatever machine this is: by the root's own loader and libraries.

A program of another libc cannot be started by itself, since the kernel takes the loader from a fixed path. A shell
script in its place starts the loader, so that make, gcc and the kernel's build find an ordinary program there.
"""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.image.arch import of_machine

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class PrivateRoot:
    """An unpacked root whose programs are of this machine's architecture."""

    path: Path

    def start(self, program: Path, *, own_name: bool = True) -> str:
        """A script that is to stand for ``program`` of this root.

        With ``own_name`` the program is told the script's path as its own: it will start others beside it, or
        itself. Without, it is told its real one: gcc finds its parts from there.
        """
        named = ' --argv0 "$0"' if own_name else ""
        loader, libraries = (shlex.quote(str(path)) for path in self._loader())
        return f'#!/bin/sh\nexec {loader} --library-path {libraries}{named} {shlex.quote(str(program))} "$@"\n'

    def _loader(self) -> tuple[Path, Path]:
        """The loader itself (links to it may be absolute, and then lead out of the root), and its libraries."""
        here = of_machine(platform.machine())
        if here is None:
            raise Unusable(
                "Debian's programs are fetched for x86_64 and aarch64 machines, and this is "
                f"{platform.machine()}; install gcc, binutils, make and the kernel's headers here"
            )
        libraries = self.path / here.libraries
        for folder in (libraries, self.path / "usr/lib64", self.path / "usr/lib"):
            loader = folder / here.loader
            if loader.is_file() and not loader.is_symlink():
                return loader, libraries
        raise Unusable(
            f"{self.path} holds no {here.loader}, so its programs cannot be started; remove it and fetch it again"
        )


def is_program(path: Path) -> bool:
    """Whether a file is an ELF program (a script needs no loader)."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def write_script(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
