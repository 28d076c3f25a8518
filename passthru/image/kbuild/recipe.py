# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipes of kernel modules: a directory with a Kbuild, sources, and a recipe.toml that says the rest.

    summary = "a PCI serial card as a mediated device"
    modules = ["mtty"]                  # what comes out of it; by default one module of the directory's name
    kernels = ">=6.1, <8"               # which kernels it builds for
    config = ["VFIO_MDEV"]              # options that the kernel must have

    [linux]                             # files of the kernel's own source, put beside the Kbuild
    from = "samples/vfio-mdev"
    files = ["mtty.c"]                  # names or patterns below it

    [make]                              # variables for the build
    CONFIG_VFIO_PLATFORM = "m"

A directory of the user's own needs no recipe.toml: whatever its Kbuild or Makefile makes is taken.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.image.modules import plain_name
from passthru.image.tree import walk
from passthru.resources import directory

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "recipe.toml"

_KEYS = {"summary", "modules", "kernels", "config", "linux", "make"}
_MADE = re.compile(r".+\.(ko|o|a|mod|mod\.c|order|symvers)|Module\.symvers|modules\.order", re.IGNORECASE)
_LARGEST = 16 << 20
_BOUND = re.compile(r"(>=|<=|>|<|==|)\s*(\d+)(?:\.(\d+))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ModuleRecipe:
    """How to make one or several modules.

    ``own`` maps paths to the content of the files in the recipe's directory, ``linux_from`` and ``linux_files`` name
    those of the kernel's source, ``promised`` are the modules that come out of it (empty: whatever does).
    ``identity`` is the sha256 of all that.
    """

    name: str
    home: Path
    summary: str
    promised: tuple[str, ...]
    kernels: str
    config: tuple[str, ...]
    linux_from: str
    linux_files: tuple[str, ...]
    make: Mapping[str, str]
    own: Mapping[str, bytes] = field(repr=False)
    identity: str

    def good_for(self, release: str) -> bool:
        """Whether ``kernels`` admits a kernel of this release; one without a number is let through."""
        match = re.match(r"(\d+)\.(\d+)", release)
        if not match:
            return True
        version = (int(match[1]), int(match[2]))
        return all(_admits(version, bound) for bound in _bounds(self.kernels))


def load(name: str | Path) -> ModuleRecipe:
    """The recipe of that name in this installation, or the one in a directory (a path, or a name with a slash)."""
    home = Path(name) if isinstance(name, Path) or "/" in name else directory("images") / "modules" / name
    home = home.expanduser().absolute()
    if not home.is_dir():
        known = ", ".join(path.name for path in _homes()) or "none"
        raise UserMistake(f"there is no module recipe {name}: {home} is no directory; known are {known}")
    if not any((home / name).is_file() for name in ("Kbuild", "Makefile")) and not (home / FILE).is_file():
        raise UserMistake(f"{home} holds no Kbuild, so no kernel module can be built there; write one")
    try:
        own = _own_files(home)
        described = (home / FILE).is_file()
        told = tomllib.loads((home / FILE).read_text()) if described else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserMistake(f"the module recipe {home / FILE} cannot be read: {error}") from error
    return _recipe(home, told, own, described=described)


def known() -> list[ModuleRecipe]:
    """All recipes of this installation."""
    return [load(home) for home in _homes()]


def _homes() -> list[Path]:
    return sorted(path.parent for path in (directory("images") / "modules").glob(f"*/{FILE}"))


def _own_files(home: Path) -> dict[str, bytes]:
    """All files in the directory but what a build by hand leaves there, and what is hidden."""
    found: dict[str, bytes] = {}
    size = 0
    for path, _ in walk(home):
        hidden = any(part.startswith(".") for part in path.split("/"))
        if hidden or path == FILE or _MADE.fullmatch(path) or not (home / path).is_file():
            continue
        size += (home / path).stat().st_size
        if size > _LARGEST:
            raise UserMistake(f"{home} holds more than {_LARGEST >> 20} MiB of files, too much for a kernel module")
        found[path] = (home / path).read_bytes()
    return found


def _recipe(home: Path, told: Mapping[str, object], own: Mapping[str, bytes], *, described: bool) -> ModuleRecipe:
    where = home / FILE
    unknown = sorted(told.keys() - _KEYS)
    if unknown:
        raise UserMistake(f"{where} has an unknown key: {unknown[0]}")
    linux = told.get("linux", {})
    make = told.get("make", {})
    if not isinstance(linux, dict) or linux.keys() - {"from", "files"}:
        raise UserMistake(f"{where}: [linux] is not a table of from and files")
    if not isinstance(make, dict) or not all(
        _VARIABLE.fullmatch(key) and isinstance(value, str) for key, value in make.items()
    ):
        raise UserMistake(f"{where}: [make] is not a table of variables, each a string")
    promised = _texts(where, told, "modules", (home.name,) if described else ())
    if "Kbuild" not in own and "Makefile" not in own and "Makefile" not in _texts(where, linux, "files"):
        raise UserMistake(f"{home} holds no Kbuild, so no kernel module can be built there; write one")
    recipe = ModuleRecipe(
        name=home.name,
        home=home,
        summary=_text(where, told, "summary"),
        promised=tuple(plain_name(name) for name in promised),
        kernels=_text(where, told, "kernels"),
        config=tuple(name.removeprefix("CONFIG_") for name in _texts(where, told, "config")),
        linux_from=_inside(where, _text(where, linux, "from")),
        linux_files=tuple(_inside(where, name) for name in _texts(where, linux, "files")),
        make=dict(make),
        own=own,
        identity="",
    )
    try:
        _bounds(recipe.kernels)
    except ValueError as error:
        raise UserMistake(f'{where}: kernels = {recipe.kernels!r} is not written like ">=6.1, <8"') from error
    identity = _identity(recipe)
    return ModuleRecipe(**{**vars(recipe), "identity": identity})


def _identity(recipe: ModuleRecipe) -> str:
    """Of what goes into the build; the summary and which kernels are admitted change nothing in it."""
    parts = [recipe.name, *recipe.promised, "", recipe.linux_from, *recipe.linux_files, ""]
    parts += [f"{key}={value}" for key, value in sorted(recipe.make.items())]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path, data in sorted(recipe.own.items()):
        digest.update(f"\0{path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def _bounds(kernels: str) -> list[tuple[str, tuple[int, int]]]:
    """``>=6.1, <8`` as [(">=", (6, 1)), ("<", (8, 0))]; ValueError for anything else."""
    found = []
    for word in filter(None, (word.strip() for word in kernels.split(","))):
        match = _BOUND.fullmatch(word)
        if not match:
            raise ValueError(word)
        found.append((match[1] or "==", (int(match[2]), int(match[3] or 0))))
    return found


def _admits(version: tuple[int, int], bound: tuple[str, tuple[int, int]]) -> bool:
    sign, limit = bound
    return {
        ">=": version >= limit,
        "<=": version <= limit,
        ">": version > limit,
        "<": version < limit,
        "==": version == limit,
    }[sign]


def _text(where: Path, told: Mapping[str, object], key: str) -> str:
    value = told.get(key, "")
    if not isinstance(value, str):
        raise UserMistake(f"{where}: {key} is not a string")
    return value


def _texts(where: Path, told: Mapping[str, object], key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = told.get(key, list(default))
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise UserMistake(f"{where}: {key} is not a list of strings")
    return tuple(value)


def _inside(where: Path, path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise UserMistake(f"{where}: {path!r} leaves the kernel's source; write it without / in front and without ..")
    if "**" in path:
        raise UserMistake(f"{where}: {path!r} has a **; write a pattern for each directory")
    return path.strip("/")
