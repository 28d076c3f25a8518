# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiler, binutils and make of a module build: this machine's where they fit the kernel, else Debian's.

A module must be built with the compiler that the kernel was built with, to the major version: what one gcc emits at a
function's entry, the other's kernel may patch wrongly (7.2 modules built with gcc 12 oops when they are loaded).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from passthru.errors import MissingCapability
from passthru.image.arch import ARCHES, machine_arch
from passthru.image.command import CommandFailed, run
from passthru.image.debian import packages_root, pins_of
from passthru.image.debian.apt import NotInSuite
from passthru.image.kbuild.private_root import PrivateRoot, write_script
from passthru.image.own.recipe import SPEC, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Entry, Store

_TOOLS = {
    "LD": "ld",
    "AR": "ar",
    "NM": "nm",
    "OBJCOPY": "objcopy",
    "OBJDUMP": "objdump",
    "READELF": "readelf",
    "STRIP": "strip",
}
_SUITES = ((12, "bookworm"), (14, "trixie"))
"""Which Debian has a gcc up to that version; sid has the newer ones."""
_OLDEST = 11
_SECONDS = 30.0


@dataclass(frozen=True)
class Commands:
    """``make`` and the variables that tell the kernel's build where the other programs are."""

    make: Path
    variables: Mapping[str, str]


class Toolchain(Protocol):
    """``told`` is for a person and the manifest, ``identity`` changes with what it emits."""

    @property
    def told(self) -> str: ...
    @property
    def identity(self) -> str: ...

    def lay_out(self, work: Path) -> Commands:
        """Its commands, ready to be started; what they need of files goes below ``work``."""


def choose(kernel: Kernel, store: Store, tell: Tell, *, update: bool = False) -> Toolchain:
    """The toolchain for modules of ``kernel``.

    Raises MissingCapability where the kernel was built with a compiler that is not to be had, and what
    debian.packages_root() raises.
    """
    config = kernel.config or {}
    if kernel.arch not in ARCHES:
        raise MissingCapability(
            f"a compiler for {kernel.arch}", f"passthru builds modules for {', '.join(ARCHES)}, not for {kernel.arch}"
        )
    if config.get("CC_IS_CLANG") == "y":
        raise MissingCapability(
            "clang",
            f"the kernel {kernel.source} was built with {config.get('CC_VERSION_TEXT', 'clang')}, and passthru builds "
            "modules with gcc only; take a kernel built with gcc, or bring built modules",
        )
    major = int(config.get("GCC_VERSION", "0")) // 10000
    return _of_machine(kernel, major) or _of_debian(kernel, major or 12, store, tell, update=update)


@dataclass(frozen=True)
class _Machine:
    told: str
    identity: str
    make: Path
    variables: Mapping[str, str] = field(repr=False)

    def lay_out(self, work: Path) -> Commands:
        return Commands(self.make, self.variables)


def _of_machine(kernel: Kernel, major: int) -> _Machine | None:
    """What is on PATH, if it is whole and its gcc is of the wanted major version (0: any)."""
    prefix = "" if kernel.arch == machine_arch() else f"{ARCHES[kernel.arch].triplet}-"
    make = shutil.which("make")
    tools = {variable: shutil.which(f"{prefix}{tool}") for variable, tool in {**_TOOLS, "AS": "as"}.items()}
    if make is None or None in tools.values():
        return None
    for name in (f"{prefix}gcc-{major}", f"{prefix}gcc"):
        compiler = shutil.which(name)
        if compiler is None:
            continue
        try:
            version = _first_line([compiler, "-dumpfullversion"])
            fits = not major or version.startswith(f"{major}.")
            fits &= _first_line([compiler, "-dumpmachine"]).startswith(ARCHES[kernel.arch].machine)
            fits &= "/" in _first_line([compiler, "-print-prog-name=cc1"])  # else it is only half installed
            fits &= re.match(r"GNU Make [4-9]", _first_line([make, "--version"])) is not None
            if fits:
                identity = "; ".join(_first_line([program, "--version"]) for program in (compiler, str(tools["LD"])))
                variables = {"CC": compiler, **{variable: str(tool) for variable, tool in tools.items()}}
                return _Machine(f"gcc {version} of this machine ({compiler})", identity, Path(make), variables)
        except CommandFailed:
            continue
    return None


@dataclass(frozen=True)
class _Debian:
    told: str
    identity: str
    entry: Entry = field(repr=False)
    major: int
    triple: str
    cross: bool

    def lay_out(self, work: Path) -> Commands:
        """Scripts for all programs in ``work``/bin; gcc is told to look there for its own parts first."""
        root = PrivateRoot(self.entry.path)
        programs = self.entry.path / "usr/bin"
        folder = work / "bin"
        variables = {}
        for variable, tool in {**_TOOLS, "AS": "as"}.items():
            program = programs / f"{self.triple}-{tool}"
            script = write_script(folder / tool, root.start(program.resolve()))
            variables[variable] = str(script)
        for part in ("cc1", "collect2"):
            write_script(folder / part, root.start(self._part(part), own_name=False))
        compiler = root.start(programs / f"{self.triple}-gcc-{self.major}", own_name=False)
        script = write_script(folder / f"gcc-{self.major}", compiler.replace('"$@"', f'-B{folder}/ "$@"'))
        make = write_script(folder / "make", root.start(programs / "make"))
        return Commands(make, {**variables, "CC": str(script)})

    def _part(self, name: str) -> Path:
        """A program that gcc starts; up to gcc 12 Debian had those below lib, since then below libexec."""
        inner = Path("gcc-cross" if self.cross else "gcc", self.triple, str(self.major), name)
        places = [self.entry.path / "usr" / folder / inner for folder in ("libexec", "lib")]
        return next((place for place in places if place.exists()), places[0])


def of_root(entry: Entry, major: int, arch: str) -> Toolchain:
    """The gcc of a root of this machine's architecture ``arch`` that holds gcc-MAJOR, binutils and make."""
    version = pins_of(entry)[f"gcc-{major}"]
    return _Debian(f"gcc-{major} {version} of Debian", entry.digest, entry, major, ARCHES[arch].triplet, cross=False)


def _of_debian(kernel: Kernel, major: int, store: Store, tell: Tell, *, update: bool) -> _Debian:
    if major < _OLDEST:
        raise MissingCapability(
            f"gcc {major}",
            f"the kernel {kernel.source} was built with gcc {major}, which neither this machine nor Debian has; "
            "install it here, or take another kernel",
        )
    cross = kernel.arch != machine_arch()
    triple = ARCHES[kernel.arch].triplet
    suffix = f"-{triple}" if cross else ""
    packages = [f"gcc-{major}{suffix}", f"binutils{suffix}", "make"]
    suite = _suite(kernel, major)
    if kernel.source == SPEC and not cross:  # what it was built with is there already, and has these among others
        own = load(kernel.arch)
        suite, packages = own.tools_suite, list(own.tools)
    what = f"gcc {major} of Debian {suite}"
    try:
        entry = packages_root(suite, packages, machine_arch(), store, tell, what=what, update=update)
    except NotInSuite as error:
        raise MissingCapability(
            f"gcc {major}",
            f"the kernel {kernel.source} was built with gcc {major}, which neither this machine nor Debian {suite} "
            "has; install it here, or take another kernel",
        ) from error
    version = pins_of(entry)[f"gcc-{major}{suffix}"]
    return _Debian(f"gcc-{major} {version} of Debian {suite}", entry.digest, entry, major, triple, cross)


def _suite(kernel: Kernel, major: int) -> str:
    """A Debian kernel was built with a compiler of its own suite (of the base of backports)."""
    if kernel.source.startswith("debian:"):
        return kernel.source.removeprefix("debian:").partition("/")[0].removesuffix("-backports")
    return next((suite for newest, suite in _SUITES if major <= newest), "sid")


def _first_line(argv: list[str]) -> str:
    return run(argv, seconds=_SECONDS).stdout.decode(errors="replace").partition("\n")[0].strip()
