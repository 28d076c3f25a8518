# SPDX-License-Identifier: GPL-2.0-or-later
"""A made source of a kernel: its Makefile does what the kernel's does, as far as a build of the own kernel sees it."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.image.own.tools import Tools
from tests.unit.image.made import bzimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.events import Tell
    from passthru.image.store import Entry, Store

RELEASE = "9.9.1-passthru"
MAKEFILE = f"""\
allnoconfig:
	@sed '$(DROP)' "$$KCONFIG_ALLCONFIG" >.config
bzImage:
	@echo '  CC      kernel/fork.o'
	@mkdir -p arch/x86/boot include/config
	@cp image arch/x86/boot/bzImage
	@echo {RELEASE} >include/config/kernel.release
modules: bzImage
	@echo '  CC [M]  samples/mtty.o'
	@$(FAIL)
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/{RELEASE}
	@ln -s "$$PWD" $(INSTALL_MOD_PATH)/lib/modules/{RELEASE}/build
	@touch $(INSTALL_MOD_PATH)/lib/modules/{RELEASE}/modules.builtin
"""
EXTMOD = '#!/bin/sh\nmkdir -p "$1" && cp Makefile "$1"\n'


@dataclass
class Debian:
    """Stands for Debian: a suite whose packages are ``versions``; ``asked`` is what was fetched, in its order.

    ``fail`` is a command that the build of the modules ends with, ``drop`` a program of sed on the configuration.
    """

    versions: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fail: str = "true"
    drop: str = ""

    def packages_root(
        self, suite: str, packages: Sequence[str], arch: str, store: Store, tell: Tell, **options: object
    ) -> Entry:
        """As passthru.image.debian.packages_root()."""
        self.asked.append(packages[0])
        pins = options.get("pins")
        wanted = dict(pins) if isinstance(pins, dict) else {}
        names = ["linux-source-9.9"] if packages[0].startswith("linux-source") else list(packages)
        exact = [f"{name}={wanted.get(name) or self.versions.get(name, '1')}" for name in names]

        def build(tree: Path) -> None:
            (tree / "usr/src").mkdir(parents=True)
            if names[0].startswith("linux-source"):
                self._pack(tree / "usr/src/linux-source-9.9.tar.xz")

        return store.entry("debian", {"arch": arch, "packages": sorted(exact)}, build, tell)

    def _pack(self, path: Path) -> None:
        files = {
            "Makefile": MAKEFILE.encode(),
            "image": bzimage(RELEASE),
            "scripts/package/install-extmod-build": EXTMOD.encode(),
        }
        with tarfile.open(path, "w:xz") as packed:
            for name, data in files.items():
                member = tarfile.TarInfo(f"linux-source-9.9/{name}")
                member.size = len(data)
                packed.addfile(member, io.BytesIO(data))

    def lay_out(self, root: Entry, gcc: int, arch: str, work: Path) -> Tools:
        """As passthru.image.own.tools.lay_out(), with this machine's make."""
        make = shutil.which("make")
        assert make, "these tests are run by make"
        variables = {"CC": "cc", "FAIL": self.fail, "DROP": self.drop}
        return Tools(Path(make), variables, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
