# SPDX-License-Identifier: GPL-2.0-or-later
"""What modules are built against: Debian's headers of the kernel in use, or the tree that it was built in.

Debian splits the headers in three packages that find each other at fixed places below /usr/src and /usr/lib: those of
one flavour, those that all flavours share, and the programs and makefiles of the build (linux-kbuild-*). A tree of
links, put where the build happens, stands for those places, and leaves the cache as it is.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from passthru.errors import MissingCapability, Unusable
from passthru.image.arch import machine_arch
from passthru.image.debian import packages_root, pins_of
from passthru.image.debian.apt import NotInSuite
from passthru.image.kbuild.private_root import PrivateRoot, is_program, write_script
from passthru.image.tree import file_digest, walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Entry, Store

_HEADERS = r"linux-headers-.+"
_KBUILD = r"linux-kbuild-.+|zlib1g|lib(c6|elf1|ssl3|zstd1|lzma5|bz2-1\.0|gcc-s1)(t64)?"
"""Without pahole: it is for BTF, which needs the whole kernel, and is left out of what is built here."""
_LEFT_OUT = {"Makefile", "scripts", "tools", "vmlinux"}


class Headers(Protocol):
    """``told`` is for a person and the manifest, ``identity`` changes with the headers."""

    @property
    def told(self) -> str: ...
    @property
    def identity(self) -> str: ...

    def lay_out(self, work: Path) -> Path:
        """The directory for ``make -C``; what is written for it goes below ``work``."""


def choose(kernel: Kernel, store: Store, tell: Tell, *, update: bool = False) -> Headers:
    """The headers for modules of ``kernel``; MissingCapability where there are none."""
    if kernel.config is not None and kernel.config.get("MODULES") != "y":
        raise MissingCapability(
            "CONFIG_MODULES", f"the kernel {kernel.source} ({kernel.release}) loads no modules: set CONFIG_MODULES"
        )
    tree = build_tree(kernel)
    if tree is not None:
        return _Tree(
            tree, f"the build tree {tree}" if kernel.pin is None else f"the headers of the {kernel.source} kernel"
        )
    if _is_debian(kernel):
        return _of_debian(kernel, store, tell, update=update)
    raise MissingCapability(
        "kernel headers",
        f"no modules can be built for the kernel {kernel.source} ({kernel.release}): it is a bare image without its "
        "headers; name its build tree or debian:SUITE instead",
    )


def build_tree(kernel: Kernel) -> Path | None:
    """The directory that a kernel was built in, or its installed headers (the ``build`` link); None for Debian's."""
    if _is_debian(kernel) or kernel.modules is None:
        return None
    for place in (kernel.modules / "build", kernel.modules):
        if (place / "Makefile").is_file() and (place / ".config").is_file():
            return place.resolve()
    return None


def _is_debian(kernel: Kernel) -> bool:
    return kernel.pin is not None and kernel.source.startswith("debian:")


def stamp(kernel: Kernel) -> str:
    """Changes when a build tree of the user's does, and reads none of its files; '' for a kernel out of the cache."""
    tree = build_tree(kernel)
    if tree is None or kernel.pin is not None:
        return ""
    found = []
    for name in (".config", "Module.symvers", "include/generated/autoconf.h"):
        try:
            info = (tree / name).stat()
        except OSError:
            continue
        found.append(f"{name} {info.st_mtime_ns} {info.st_size}")
    return f"{tree} {' '.join(found)}"


class _Tree:
    def __init__(self, path: Path, told: str) -> None:
        self.path = path
        self.told = told
        for name, target in (("include/generated/autoconf.h", "make modules_prepare"), ("Module.symvers", "make")):
            if not (path / name).is_file():
                raise MissingCapability(
                    "kernel headers",
                    f"no modules can be built against {path}: it has no {name}; run `{target}` there first",
                )
        digest = hashlib.sha256()
        for name in (".config", "Module.symvers", "include/generated/autoconf.h", "Makefile"):
            digest.update(file_digest(path / name).encode())
        self.identity = digest.hexdigest()

    def lay_out(self, work: Path) -> Path:
        return self.path


@dataclass(frozen=True)
class _Debian:
    told: str
    identity: str
    release: str
    headers: Entry = field(repr=False)
    kbuild: Entry = field(repr=False)

    def lay_out(self, work: Path) -> Path:
        src = work / "usr/src"
        for home in self._homes():
            _link_all(home, src / home.name)
            makefile = (home / "Makefile").read_text()
            (src / home.name / "Makefile").write_text(makefile.replace("/usr/src/", f"{src}/"))
            for name in ("scripts", "tools"):
                if (home / name).is_symlink():
                    (src / home.name / name).symlink_to((home / name).readlink())
        for home in sorted((self.kbuild.path / "usr/lib").glob("linux-kbuild-*")):
            self._copy_kbuild(home, work / "usr/lib" / home.name)
        return src / f"linux-headers-{self.release}"

    def _homes(self) -> Iterator[Path]:
        for home in sorted((self.headers.path / "usr/src").iterdir()):
            if home.is_dir() and not home.is_symlink():
                yield home

    def _copy_kbuild(self, home: Path, to: Path) -> None:
        """The build's own files; for its programs, scripts that start them."""
        root = PrivateRoot(self.kbuild.path)
        for path, _ in walk(home):
            there = to / path
            if is_program(home / path):
                write_script(there, root.start(home / path))
            elif (home / path).is_dir() and not (home / path).is_symlink():
                there.mkdir(parents=True, exist_ok=True)
            else:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(home / path, there, follow_symlinks=False)


def _link_all(home: Path, to: Path) -> None:
    to.mkdir(parents=True)
    for path in home.iterdir():
        if path.name not in _LEFT_OUT:
            (to / path.name).symlink_to(path)


def _of_debian(kernel: Kernel, store: Store, tell: Tell, *, update: bool) -> _Debian:
    suite = kernel.source.removeprefix("debian:").partition("/")[0]
    version = debian_version(kernel)
    package = f"linux-headers-{kernel.release}"
    what = f"the headers of {kernel.source}"
    asked = [f"{package}={version}"]
    try:
        headers = packages_root(suite, asked, kernel.arch, store, tell, only=_HEADERS, what=what, update=update)
    except NotInSuite as error:
        raise MissingCapability(
            "kernel headers",
            f"Debian {suite} has no {package} {version} any more, so no modules can be built for {kernel.source} as it "
            "is in the cache; take its present kernel with `passthru fetch --update`",
        ) from error
    home = headers.path / "usr/src" / package
    try:
        # ../../lib/linux-kbuild-6.12.95+deb12/scripts: so the headers name the package that they need
        kbuild = next(part for part in (home / "scripts").readlink().parts if part.startswith("linux-kbuild-"))
    except (OSError, StopIteration) as error:
        raise Unusable(f"the package {package} of Debian {suite} is not as expected: {error}") from error
    what = f"the build programs of {kernel.source}"
    programs = packages_root(suite, [kbuild], machine_arch(), store, tell, only=_KBUILD, what=what, update=update)
    told = f"{package} {version} and {kbuild} {pins_of(programs)[kbuild]} of Debian {suite}"
    return _Debian(told, f"{headers.digest} {programs.digest}", kernel.release, headers, programs)


def debian_version(kernel: Kernel) -> str:
    """The version of the package that a Debian kernel came in."""
    assert kernel.pin is not None
    for package, version in pins_of(kernel.pin).items():
        if re.fullmatch(rf"linux-(image|binary|base)-{re.escape(kernel.release)}", package):
            return version
    raise Unusable(f"the packages of {kernel.source} do not tell the version of the kernel {kernel.release}")
