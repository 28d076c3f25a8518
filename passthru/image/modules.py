# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel modules for a guest: the asked ones with all they depend on, decompressed, in the order to load them.

Dependencies are read from the modules themselves (``depends=`` and ``softdep=`` of .modinfo, as depmod does), since
neither Debian's packages nor a build tree carry a modules.dep.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.events import Note
from passthru.image.elf import NotElf, modinfo
from passthru.image.unpacking import decompress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.events import Tell
    from passthru.image.kernel import Kernel

_FILE = re.compile(r"(.+)\.ko(\.(xz|zst|gz))?")
_UNLISTED = ("updates", "extra", "misc", "weak-updates")  # what was added by hand is in no modules.order


@dataclass(frozen=True)
class Module:
    """One module: ``path`` as below /lib/modules/RELEASE, ``data`` decompressed, ``depends`` by name."""

    name: str
    path: str
    data: bytes = field(repr=False)
    depends: tuple[str, ...]
    aliases: tuple[str, ...] = field(repr=False)


def plain_name(name: str) -> str:
    """A module's name as the kernel has it: ``8250-pci`` and ``8250_pci`` are one."""
    return name.replace("-", "_")


def closure(
    kernel: Kernel, names: Sequence[str], tell: Tell, built: Mapping[str, Path] = MappingProxyType({})
) -> list[Module]:
    """The modules to load for ``names``, dependencies first; built-in ones need none.

    ``built`` are modules made for this kernel apart from it: name -> file. Unusable names what the kernel has neither
    as a module nor built in.
    """
    if not names:
        return []
    apart = {plain_name(name): str(path) for name, path in built.items()}
    root = kernel.modules or Path("/")
    files = {**(_files(root) if kernel.modules else {}), **apart}
    builtin = _builtin(root) if kernel.modules else frozenset()
    wanted = [plain_name(name) for name in names]
    taken = [] if kernel.modules else [name for name in wanted if name not in apart]
    if taken:
        tell(Note(f"the kernel {kernel.source} comes without modules; {', '.join(taken)} is taken to be built in"))
    loaded: dict[str, Module] = {}
    for name in wanted:
        if name not in taken:
            _load(name, kernel, root, files, builtin, loaded, ())
    return list(loaded.values())


def available(kernel: Kernel, name: str) -> bool:
    """Whether there is something to load for ``name``: a module of this kernel that is not built in."""
    if kernel.modules is None:
        return False
    return plain_name(name) in _files(kernel.modules).keys() - _builtin(kernel.modules)


def builtin(kernel: Kernel) -> frozenset[str]:
    """The modules that are built into this kernel, as far as that can be told."""
    return _builtin(kernel.modules) if kernel.modules else frozenset()


def lacking(kernel: Kernel, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that this kernel has neither as a module nor built in, as far as that can be told."""
    if kernel.modules is None or not names:
        return []
    known = _files(kernel.modules).keys() | _builtin(kernel.modules)
    return [name for name in names if plain_name(name) not in known]


def any_module(kernel: Kernel) -> bytes | None:
    """Some module of the kernel's own, decompressed, to compare others with; None if there is none."""
    if kernel.modules is None:
        return None
    for path in _files(kernel.modules).values():
        with contextlib.suppress(FileNotFoundError):
            return _read(kernel.modules / path)
    return None


def _load(
    name: str,
    kernel: Kernel,
    root: Path,
    files: dict[str, str],
    builtin: frozenset[str],
    loaded: dict[str, Module],
    above: tuple[str, ...],
) -> None:
    if name in loaded or name in builtin or name in above:
        return
    if name not in files:
        needed = f"the module {above[-1]}" if above else "the scenario"
        raise Unusable(
            f"the kernel {kernel.source} ({kernel.release}) has no module {name}, and it is not built in; {needed} "
            "needs it: take another kernel with --kernel, or build it (in a build tree: `make modules`)"
        )
    path = root / files[name]
    try:
        data = _read(path)
        told = modinfo(data)
    except (OSError, NotElf) as error:
        raise Unusable(f"the kernel module {path} cannot be used: {error}; build or fetch the kernel anew") from error
    depends = tuple(plain_name(word) for word in ",".join(told.get("depends", [])).split(",") if word)
    before, after = _soft(told.get("softdep", []))
    for other in (*(soft for soft in before if soft in files), *depends):
        _load(other, kernel, root, files, builtin, loaded, (*above, name))
    shown = f"extra/{name}.ko" if Path(files[name]).is_absolute() else files[name]
    if not shown.startswith(("kernel/", *(f"{place}/" for place in _UNLISTED))):
        shown = f"kernel/{shown}"  # a build tree's modules are where `make modules_install` would put them
    kept = tuple(other for other in depends if other not in builtin)
    loaded[name] = Module(name, shown, data, kept, tuple(told.get("alias", [])))
    for other in after:
        if other in files:
            _load(other, kernel, root, files, builtin, loaded, (*above, name))


def _soft(softdeps: Sequence[str]) -> tuple[list[str], list[str]]:
    """Modules that want to be loaded before and after: ``pre: a b post: c``."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    for text in softdeps:
        side = found["pre:"]
        for word in text.split():
            if word in found:
                side = found[word]
            else:
                side.append(plain_name(word))
    return found["pre:"], found["post:"]


def _files(root: Path) -> dict[str, str]:
    """Module name -> path below ``root``, without what follows ``.ko``; by modules.order, as build trees are large."""
    found: dict[str, str] = {}
    order = root / "modules.order"
    if order.is_file():
        for line in order.read_text().split():
            stem = line.rpartition(".")[0]  # newer kernels list the .o, older ones the .ko
            found[plain_name(stem.rpartition("/")[2])] = f"{stem}.ko"
        places = [root / place for place in _UNLISTED]
    else:
        places = [root]
    for place in places:
        for folder, _, names in os.walk(place):
            for name in sorted(names):
                match = _FILE.fullmatch(name)
                if match:
                    found[plain_name(match[1])] = str(Path(folder, f"{match[1]}.ko").relative_to(root))
    return found


def _read(path: Path) -> bytes:
    """The content of a module, compressed or not; FileNotFoundError if there is neither."""
    for ending in ("", ".xz", ".zst", ".gz"):
        packed = path.with_name(path.name + ending)
        if packed.exists():
            return decompress(packed.read_bytes(), str(packed))
    raise FileNotFoundError("it is listed in modules.order but is not there")


def _builtin(root: Path) -> frozenset[str]:
    try:
        lines = (root / "modules.builtin").read_text().split()
    except FileNotFoundError:
        return frozenset()
    return frozenset(plain_name(Path(line).name.rpartition(".")[0]) for line in lines)
