# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest images: an initramfs of Debian packages by a recipe, with the kernel modules a scenario asks for.

The same recipe, packages, kernel and modules give the same bytes. An image is not compressed: the guest would spend
more time unpacking it than QEMU spends copying it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

from passthru.events import Progress
from passthru.image import cpio, module_index, modules, sysroot
from passthru.image.debian import packages_root, pins_of
from passthru.image.kbuild.provide import Provided, provide
from passthru.image.recipe import load
from passthru.image.tree import walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.errors import MissingCapability
    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.modules import Module
    from passthru.image.recipe import Recipe
    from passthru.image.store import Entry, Store

_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""

_UNREAD = tuple(f"usr/share/{name}/" for name in ("doc", "man", "info", "locale", "lintian", "bug", "doc-base"))
"""Of the packages that a scenario adds, what nobody reads in a guest."""

MODULES_FILE = "etc/passthru/modules"
"""In the image: the modules to load, one absolute path a line, in their order."""


@dataclass(frozen=True)
class GuestImage:
    """An initramfs in the cache, with what a lock file keeps of it: the image itself, and the packages in it."""

    path: Path
    modules: tuple[str, ...]
    pin: Mapping[str, Any]
    packages_pin: Mapping[str, Any]
    built: Mapping[str, Any] = field(default_factory=dict)
    """The modules that were built for it: recipe -> pin and facts (compiler, headers)."""
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)
    """The optional modules that it lacks, and why."""


def guest_image(recipe: str, kernel: Kernel, module_names: Sequence[str], store: Store, tell: Tell) -> Path:
    """The initramfs (uncompressed newc cpio) of a recipe with modules of ``kernel``; see build_guest()."""
    return build_guest(recipe, kernel, module_names, store, tell).path


def floor_image(store: Store, tell: Tell, *, arch: str = "amd64") -> Path:
    """The least initramfs that boots: its /init prints FIRST-LINE and powers off."""
    return _build(load("floor"), None, Provided(()), (), arch, store, tell, None, False).path


def build_guest(
    name: str,
    kernel: Kernel,
    module_names: Sequence[str],
    store: Store,
    tell: Tell,
    *,
    optional_modules: Sequence[str] = (),
    packages: Sequence[str] = (),
    packages_pin: Mapping[str, Any] | None = None,
    update: bool = False,
) -> GuestImage:
    """The image of the recipe ``name`` for ``kernel``, built once.

    Modules that the kernel lacks are built for it where images/modules has a recipe (kbuild.provide); of
    ``optional_modules``, GuestImage.missing tells those that cannot be had. ``packages`` are further Debian packages
    that come in whole; ``packages_pin`` (of a lock file) settles the versions of all. Raises Unusable: a module that
    the kernel lacks, what debian.packages_root() raises; MissingCapability: one that cannot be built for it;
    UserMistake: no such recipe.
    """
    chosen = load(name)
    found = provide(kernel, module_names, store, tell, optional=optional_modules, update=update)
    return _build(chosen, kernel, found, tuple(packages), kernel.arch, store, tell, packages_pin, update)


def _build(
    chosen: Recipe,
    kernel: Kernel | None,
    provided: Provided,
    packages: tuple[str, ...],
    arch: str,
    store: Store,
    tell: Tell,
    packages_pin: Mapping[str, Any] | None,
    update: bool,
) -> GuestImage:
    what = f"the {chosen.name} image"
    root = store.pinned(packages_pin) if packages_pin else None
    if root is None:
        root = packages_root(
            chosen.suite,
            sorted({*chosen.packages, *packages}),
            arch,
            store,
            tell,
            what=f"the packages of {what}",
            pins=pins_of(packages_pin) if packages_pin else None,
            update=update,
        )
    extra = _extra(chosen, root, packages, arch, store, tell)
    # A kernel of Debian's is what its pin says; one of the user's may be built anew any time, so its modules are read.
    loaded = modules.closure(kernel, provided.names, tell, provided.built) if kernel and kernel.pin is None else None
    key: dict[str, str | Sequence[str]] = {
        "builder": _BUILDER,
        "recipe": chosen.identity,
        "packages": root.digest,
        "extra": extra.digest if extra else "",
        "kernel": f"{kernel.release} {kernel.identity}" if kernel and provided.names else "",
        "asked": list(provided.names),
        "modules": [f"{module.path} {sha256(module.data).hexdigest()}" for module in loaded or ()],
        "built": [entry.digest for entry in provided.entries],
    }

    def build(tree: Path) -> Mapping[str, object]:
        tell(Progress(f"building {what}", 0, 1, "steps"))
        found = loaded or []
        if kernel and loaded is None:
            found = modules.closure(kernel, provided.names, tell, provided.built)
        nodes = _nodes(chosen, root, extra) + _module_nodes(found, kernel)
        with (tree / "initrd.cpio").open("wb") as stream:
            cpio.write(stream, nodes)
        tell(Progress(f"building {what}", 1, 1, "steps", finished=True))
        return {"recipe": chosen.name, "modules": [module.name for module in found]}

    entry = store.entry("guest", key, build, tell, what=what)
    return GuestImage(
        path=entry.path / "initrd.cpio",
        modules=tuple(entry.facts["modules"]),
        pin=entry.pin,
        packages_pin=root.pin,
        built={made.facts["recipe"]: {"pin": made.pin, **made.facts} for made in provided.entries},
        missing=provided.missing,
    )


def _extra(chosen: Recipe, root: Entry, packages: tuple[str, ...], arch: str, store: Store, tell: Tell) -> Entry | None:
    """The asked packages alone, in the versions that ``root`` has, to know which files are theirs."""
    if not packages:
        return None
    versions = pins_of(root)
    pins = {name: versions[name] for name in packages}
    return packages_root(chosen.suite, packages, arch, store, tell, pins=pins, what=", ".join(packages))


def _nodes(chosen: Recipe, root: Entry, extra: Entry | None) -> list[cpio.Node]:
    nodes = [cpio.directory(path) for path in chosen.directories]
    nodes += [cpio.character_device("dev/console", 5, 1), cpio.character_device("dev/null", 1, 3, 0o666)]
    nodes += [cpio.link(path, target) for path, target in chosen.links.items()]
    nodes += sysroot.matching(root.path, chosen.files)
    if extra:
        paths = [path for path, info in walk(extra.path) if not S_ISDIR(info.st_mode) and not path.startswith(_UNREAD)]
        nodes += sysroot.take(root.path, paths)
    nodes += [cpio.file(path, data, executable=True) for path, data in chosen.own.items()]
    if chosen.applets:
        nodes += sysroot.applet_links(chosen.applets, nodes)
    return nodes


def _module_nodes(found: Sequence[Module], kernel: Kernel | None) -> list[cpio.Node]:
    if kernel is None:
        return []
    home = f"usr/lib/modules/{kernel.release}"
    lines = "".join(f"/lib/modules/{kernel.release}/{module.path}\n" for module in found)
    nodes = [cpio.file(f"{home}/{module.path}", module.data) for module in found]
    nodes += [cpio.file(f"{home}/{name}", data) for name, data in module_index.index_files(found).items()]
    return [*nodes, cpio.file(MODULES_FILE, lines.encode())]
