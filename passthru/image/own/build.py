# SPDX-License-Identifier: GPL-2.0-or-later
"""One build of the own kernel: image, modules, and what further modules are built against.

boot/vmlinuz-RELEASE, boot/config-RELEASE
usr/lib/modules/RELEASE/              as `make modules_install` has it, its ``build`` a link to
usr/src/linux-RELEASE/                headers, makefiles and the programs of the build
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.events import Progress
from passthru.image.arch import ARCHES
from passthru.image.command import CommandFailed, run
from passthru.image.kbuild.compile import first_error, keep_log
from passthru.image.kconfig import parse_config, unmet
from passthru.image.own.recipe import config_lines
from passthru.image.own.source import unpack
from passthru.image.own.tools import lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.own.recipe import OwnRecipe
    from passthru.image.own.tools import Tools
    from passthru.image.store import Entry, Store

_SECONDS = 7200.0
_STEP = re.compile(r"  [A-Z0-9]+ +(\[M\] +)?\S")
"""A line with which make says which file it makes."""
_IMAGES = {"amd64": "arch/x86/boot/bzImage"}


def jobs() -> int:
    """How many files are compiled at once."""
    return len(os.sched_getaffinity(0))


class Build:
    """One build in ``work``."""

    def __init__(
        self,
        recipe: OwnRecipe,
        config: Mapping[str, str],
        source: Entry,
        tools: Entry,
        work: Path,
        store: Store,
        tell: Tell,
    ) -> None:
        self.recipe = recipe
        self.config = config
        self.work = work
        self.source = source
        self.store = store
        self.tell = tell
        self.linux = work / "linux"
        self.log = work / "log"
        self.tools: Tools = lay_out(tools, recipe.gcc, recipe.arch, work)

    def into(self, to: Path) -> dict[str, object]:
        """Unpack, configure, build, and keep what is of use in ``to``."""
        archives = sorted((self.source.path / "usr/src").glob("linux-source-*.tar.xz"))
        if not archives:
            raise Unusable(f"Debian's {self.recipe.package} holds no source archive; remove {self.source.path.parent}")
        unpack(archives[0], self.recipe, self.linux, self.tell, "unpacking the source of the own kernel")
        self._configure()
        self._compile()
        release = (self.linux / "include/config/kernel.release").read_text().strip()
        kept = self.work / "kept"  # make could not live with a cache whose path has blanks
        self._keep(kept, release)
        for path in kept.iterdir():
            shutil.move(path, to / path.name)
        return {"release": release, "source": archives[0].name}

    def _configure(self) -> None:
        """Everything that the recipe does not name is off; that all it names came out so is checked."""
        fragment = self.work / "fragment"
        renamed = self.recipe.renamed
        later = {renamed[name]: value for name, value in self.config.items() if name in renamed}
        fragment.write_text("".join(f"{line}\n" for line in config_lines({**later, **self.config})))
        self._make(["allnoconfig"], {"KCONFIG_ALLCONFIG": str(fragment)})
        wrong = unmet(self.config, parse_config((self.linux / ".config").read_bytes()), renamed)
        if wrong:
            raise Unusable(
                f"the source of the own kernel does not take all options of its recipe: {', '.join(wrong)}; see in "
                "their Kconfig what they depend on, and correct images/kernel, or take another kernel with --kernel"
            )

    def _compile(self) -> None:
        work = "building the own kernel"
        total = self.recipe.files
        done = 0

        def line(text: str) -> None:
            nonlocal done
            if _STEP.match(text):
                done += 1
                if done * 100 // total != (done - 1) * 100 // total:
                    self.tell(Progress(work, min(done, total), total, "files"))

        self.tell(Progress(work, 0, total, "files"))
        self._make([f"-j{jobs()}", "bzImage", "modules"], {}, line)
        self.tell(Progress(work, total, total, "files", finished=True))

    def _keep(self, to: Path, release: str) -> None:
        boot = to / "boot"
        boot.mkdir(parents=True)
        shutil.copyfile(self.linux / _IMAGES[self.recipe.arch], boot / f"vmlinuz-{release}")
        shutil.copyfile(self.linux / ".config", boot / f"config-{release}")
        self._make(["modules_install"], {}, INSTALL_MOD_PATH=str(to / "usr"), INSTALL_MOD_STRIP="1", DEPMOD="true")
        headers = to / "usr/src" / f"linux-{release}"
        self._collect_headers(headers)
        shutil.copyfile(self.linux / ".config", headers / ".config")
        link = to / "usr/lib/modules" / release / "build"
        link.unlink(missing_ok=True)  # make's own names the place of this build
        link.symlink_to(f"../../../src/linux-{release}")

    def _collect_headers(self, to: Path) -> None:
        """What modules are built against, chosen by the kernel's own script for that (Debian's headers are, too)."""
        script = "scripts/package/install-extmod-build"
        same = str(self.tools.variables["CC"])  # two different ones would make it build programs for another machine
        environment = {"srctree": ".", "SRCARCH": ARCHES[self.recipe.arch].linux, "CC": same, "HOSTCC": same}
        self._run(["sh", script, str(to)], environment, None)

    def _make(
        self, words: list[str], environment: Mapping[str, str], line: Callable[[str], None] | None = None, **more: str
    ) -> None:
        variables = {
            "ARCH": ARCHES[self.recipe.arch].linux,
            "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
            "KBUILD_BUILD_USER": "passthru",
            "KBUILD_BUILD_HOST": "passthru",
            **self.tools.variables,
            **more,
        }
        settings = [f"{name}={value}" for name, value in variables.items()]
        self._run([str(self.tools.make), *settings, *words], environment, line)

    def _run(self, words: list[str], environment: Mapping[str, str], line: Callable[[str], None] | None) -> None:
        """Run a command in the source with nothing of the caller's environment; all that it says goes to the log."""
        settings = [f"{name}={value}" for name, value in {**self.tools.environment, **environment}.items()]
        started = 'out=$1; shift; exec env -i "$@" >"$out" 2>&1'
        with self.log.open("a") as log:

            def said(text: str) -> None:
                print(text, file=log)
                if line:
                    line(text)

            try:
                run(
                    ["sh", "-c", started, "sh", "/dev/fd/{status}", *settings, *words],
                    seconds=_SECONDS,
                    cwd=self.linux,
                    status_line=said,
                )
            except CommandFailed as failed:
                log.flush()
                self._fail(words, failed)

    def _fail(self, words: list[str], failed: CommandFailed) -> None:
        text = self.log.read_text(errors="replace")
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.work)) from failed
        kept = keep_log(self.log, "own-kernel", self.store, {})
        error = first_error(text, failed.reason or f"make ended with status {failed.status}")
        where = f"{error.file}:{error.line}: " if error.file else ""
        raise Unusable(
            f"the own kernel cannot be built: {where}{error.text}; the whole log is {kept}; take another kernel with "
            "--kernel, or another source with `passthru fetch --update`"
        ) from failed
