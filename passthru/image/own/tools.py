# SPDX-License-Identifier: GPL-2.0-or-later
"""All that a kernel is built with, out of an unpacked root of Debian's; of this machine only what every Linux has.

What the kernel builds to run on this machine (fixdep, objtool, modpost) is linked statically against that root: it runs
with whatever libc this machine has, and modules can be built with it later wherever the cache is brought.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.image.kbuild.private_root import PrivateRoot, write_script
from passthru.image.kbuild.toolchain import of_root

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.image.store import Entry

_PROGRAMS = ("bc", "bison", "flex", "m4")


@dataclass(frozen=True)
class Tools:
    """``make`` with the variables and the environment that it wants; ``variables`` go to its command line."""

    make: Path
    variables: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


def lay_out(root: Entry, gcc: int, arch: str, work: Path) -> Tools:
    """The programs of ``root``, ready to be started; scripts for them go below ``work``."""
    commands = of_root(root, gcc, arch).lay_out(work)
    inside = PrivateRoot(root.path)
    for name in _PROGRAMS:
        write_script(work / "bin" / name, inside.start(root.path / "usr/bin" / name))
    own = commands.variables
    sysroot = shlex.quote(f"--sysroot={root.path}")
    # The place of this build shows nowhere, so that the same tools come out of each.
    compiler = f'#!/bin/sh\nexec {own["CC"]} {sysroot} -ffile-prefix-map={work}=. "$@" -g0\n'
    here = {
        "HOSTCC": str(write_script(work / "bin/hostcc", compiler)),
        "HOSTLD": own["LD"],
        "HOSTAR": own["AR"],
        "HOSTLDFLAGS": "-static",
        "LIBELF_LIBS": "-lelf -lz",  # a static libelf does not say itself that it needs zlib
    }
    environment = {
        "PATH": f"{work / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C",
        "HOME": str(work),
        "TMPDIR": str(work),
        "BISON_PKGDATADIR": str(root.path / "usr/share/bison"),
        "M4": str(work / "bin/m4"),
    }
    return Tools(commands.make, {**own, **here}, environment)
