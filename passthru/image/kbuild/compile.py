# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of the kernel's build over one directory of sources, and what its log says when it fails."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.image.arch import ARCHES
from passthru.image.command import CommandFailed, run
from passthru.image.store import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.image.kbuild.toolchain import Commands
    from passthru.image.store import Store

SECONDS = 1800.0
_UNFIT = re.compile(r"[\s:#$%\\'\"]")
"""What make, or the kernel's makefiles, cannot have in a path ("source directory cannot contain spaces or colons")."""
_ERROR = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.+)$", re.MULTILINE)
_OTHER = re.compile(r"^.*(?:\b(?:ERROR|error|Error)[: ]|\bundefined!|\*\*\* ).*$", re.MULTILINE)
_PLACES = (Path("/tmp"), Path("/var/tmp"))


class BuildFailed(Exception):
    """The build ended badly; ``file`` and ``line`` say where, as far as the log does."""

    def __init__(self, text: str, file: str = "", line: int = 0) -> None:
        super().__init__(text)
        self.text = text
        self.file = file
        self.line = line


def place_for(scratch: Path) -> Path:
    """A directory to build in: below ``scratch``, or, if make could not live with its path, a temporary one.

    The caller removes it.
    """
    for folder in (scratch, Path(tempfile.gettempdir()), *_PLACES):
        if not _UNFIT.search(str(folder)) and os.access(folder, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="build-", dir=folder))
    raise Unusable(
        f"nothing of a kernel can be built in {scratch}, since make cannot have such a path; set PASSTHRU_CACHE or "
        "TMPDIR to one without blanks and signs"
    )


def build(
    tree: Path,
    module: Path,
    commands: Commands,
    variables: Mapping[str, str],
    arch: str,
    log: Path,
    hidden: Mapping[Path, str],
) -> None:
    """``make -C TREE M=MODULE modules`` in a clean environment; its output goes to ``log``.

    ``hidden`` are directories that must not show in what is made, and what stands for them there. Raises BuildFailed.
    """
    outer_first = sorted(hidden.items(), key=lambda item: len(str(item[0])))  # of those that match, gcc takes the last
    mapped = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in outer_first if not _UNFIT.search(str(path)))
    words = {
        "ARCH": ARCHES[arch].linux,
        "KCFLAGS": mapped,
        "KAFLAGS": mapped,
        "CONFIG_DEBUG_INFO_BTF_MODULES": "",  # it would need the whole kernel's BTF and pahole; nobody reads it here
        "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
        "KBUILD_BUILD_USER": "passthru",
        "KBUILD_BUILD_HOST": "passthru",
        **commands.variables,
        **variables,
    }
    # Not the caller's environment: MAKEFLAGS, KCFLAGS, ARCH and their like would speak for another build.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": str(module),
        "TMPDIR": str(log.parent),
    }
    argv = [
        *("sh", "-c", 'log=$1; shift; exec env -i "$@" >"$log" 2>&1', "sh", str(log)),
        *(f"{name}={value}" for name, value in environment.items()),
        *(str(commands.make), "-C", str(tree), f"M={module}", f"-j{os.cpu_count() or 1}"),
        *(f"{name}={value}" for name, value in words.items()),
        "modules",
    ]
    try:
        run(argv, seconds=SECONDS)
    except CommandFailed as failed:
        said = log.read_text(errors="replace") if log.exists() else failed.stderr
        raise first_error(said, failed.reason or f"make ended with status {failed.status}") from failed


def first_error(log: str, otherwise: str) -> BuildFailed:
    """The first thing that went wrong: the compiler's, else modpost's or make's, else ``otherwise``."""
    match = _ERROR.search(log)
    if match:
        return BuildFailed(match["text"].strip(), match["file"], int(match["line"]))
    other = _OTHER.search(log)
    if other:
        return BuildFailed(re.sub(r"^make(\[\d+\])?: \*\*\* ", "make: ", other[0].strip()))
    last = log.strip().rpartition("\n")[2]
    return BuildFailed(f"{otherwise}, and its last words are: {last}" if last else otherwise)


def keep_log(log: Path, name: str, store: Store, shown: Mapping[Path, Path]) -> Path:
    """Where the whole log stays for a person to read; ``shown`` says which path is to stand for another one there."""
    kept = store.area("build-logs") / f"{re.sub(r'[^A-Za-z0-9_.+-]', '-', name)}.log"
    text = log.read_bytes() if log.exists() else b""
    for path, instead in shown.items():
        text = text.replace(os.fsencode(path), os.fsencode(instead))
    with store.trouble("the log of a build"):
        write_whole(kept, text)
    return kept
