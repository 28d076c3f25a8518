# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rig boots from: a kernel, an initramfs, and read-only drives that are told apart by their serial numbers.

    base     Debian packages by a recipe (images/rig.toml), with bytecode
    qemu     the QEMU that will run the guest there, if there is to be one
    files    what the run brings in

Kernel modules, init and passthru's own code are in the initramfs, as they change most (rig_initrd.py). Each part is
made once, and addressed by what it is made from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.image import block, cpio, sysroot
from passthru.image.arch import ARCHES
from passthru.image.bytecode import compile_tree, compiler_of
from passthru.image.debian import packages_root, pins_of
from passthru.image.direct import direct_image
from passthru.image.qemu_tree import nodes_of, tree_of
from passthru.image.recipe import load
from passthru.image.rig_files import files_drive
from passthru.image.rig_initrd import CODE_HOME, FILES_HOME, initramfs
from passthru.image.rig_initrd import FILE as INITRD
from passthru.image.rig_modules import wanted

__all__ = ["CODE_HOME", "FILES_HOME", "PYTHON", "Drive", "RigImage", "build_rig"]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.errors import MissingCapability
    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.qemu_tree import QemuTree
    from passthru.image.recipe import Recipe
    from passthru.image.store import Entry, Store
    from passthru.qemu.binary import Qemu

PYTHON = "/usr/bin/python3"

_BUILDER = "2"
"""To be counted up when the same inputs are to give other bytes."""


@dataclass(frozen=True)
class Drive:
    """A read-only block image, and the serial number by which the rig knows it."""

    serial: str
    path: Path


@dataclass(frozen=True)
class RigImage:
    """All that a rig is started with.

    ``qemu`` is the given one as it is to be started in the rig; ``modules`` are those that lie there; ``missing`` says
    of each asked module that cannot be had why not; ``pins`` is what a lock file keeps.
    """

    kernel: Kernel
    boot: Path
    """What QEMU is given as -kernel: ``kernel``, unpacked where it can be."""
    initrd: Path
    drives: tuple[Drive, ...]
    qemu: Qemu | None
    modules: tuple[str, ...]
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)
    pins: Mapping[str, Any] = field(default_factory=dict, repr=False)


def build_rig(
    kernel: Kernel,
    modules: Sequence[str],
    qemu: Qemu | None,
    files: Mapping[str, Path],
    store: Store,
    tell: Tell,
    *,
    recipe: str = "rig",
    pins: Mapping[str, Any] | None = None,
    update: bool = False,
) -> RigImage:
    """The images of a rig of ``kernel`` and its architecture, each built once. Blocks: call it in a thread of its own.

    ``qemu`` is for a guest there, None for a rig without one. ``modules`` are loaded at boot: the kernel's, recipes of
    images/modules, or directories (.ko files, or a Kbuild). ``files`` maps names below FILES_HOME to files or
    directories of this machine. ``pins`` (RigImage.pins of a lock file) settles the versions of all packages. Raises
    Unusable: a kernel, QEMU or module that cannot be used in a rig, what debian.packages_root() raises; UserMistake: no
    such recipe, file or directory.
    """
    chosen = load(recipe)
    pins = pins or {}
    _demand_arch(kernel)
    found = wanted(kernel, modules, store, tell, update=update)
    packages = _packages(chosen, kernel.arch, store, tell, pins.get("packages"), update=update)
    made_by = block.tools(store, tell, pin=pins.get("tools"), update=update)
    python = compiler_of(
        packages,
        chosen.suite,
        sorted(chosen.packages),
        kernel.arch,
        store,
        tell,
        pin=pins.get("python"),
        update=update,
    )
    drives = {"base": _base(chosen, packages, python, made_by, store, tell)}
    tree = tree_of(qemu, kernel.arch, store) if qemu else None
    if tree:
        drives["qemu"] = _qemu_drive(tree, made_by, store, tell)
    if files:
        drives["files"] = files_drive(files, made_by, store, tell)
    there = tree.qemu if tree else None
    initrd = initramfs(chosen, found, packages, python, list(drives), there, store, tell)
    return RigImage(
        kernel=kernel,
        boot=direct_image(kernel, store, tell),
        initrd=initrd.path / INITRD,
        drives=tuple(Drive(serial, block.image_file(entry)) for serial, entry in drives.items()),
        qemu=there,
        modules=tuple(initrd.facts["modules"]),
        missing=found.missing,
        pins={
            "packages": packages.pin,
            **({"python": python.pin} if python is not packages else {}),
            "tools": made_by.pin,
            "initrd": initrd.pin,
            "drives": {serial: entry.pin for serial, entry in drives.items()},
            "built": {entry.facts["recipe"]: {"pin": entry.pin, **entry.facts} for entry in found.entries},
        },
    )


def _demand_arch(kernel: Kernel) -> None:
    if kernel.arch not in ARCHES:
        known = " or ".join(ARCHES)
        raise Unusable(f"rigs are {known}, and {kernel.source} is {kernel.arch}; take another kernel as host.kernel")


def _qemu_drive(tree: QemuTree, made_by: Entry, store: Store, tell: Tell) -> Entry:
    key = {"builder": _BUILDER, "qemu": tree.identity}
    what = f"{tree.qemu.title} for a rig"
    return block.block_image(
        key, lambda place: block.write_nodes(nodes_of(tree), place), made_by, store, tell, what=what
    )


def _packages(
    chosen: Recipe, arch: str, store: Store, tell: Tell, pin: Mapping[str, Any] | None, *, update: bool
) -> Entry:
    return (store.pinned(pin) if pin else None) or packages_root(
        chosen.suite,
        sorted(chosen.packages),
        arch,
        store,
        tell,
        pins=pins_of(pin) if pin else None,
        what=f"the packages of the {chosen.name} image",
        update=update,
    )


def _base(chosen: Recipe, packages: Entry, python: Entry, made_by: Entry, store: Store, tell: Tell) -> Entry:
    def fill(tree: Path) -> dict[str, object]:
        nodes = [cpio.directory(path) for path in chosen.directories]
        nodes += [cpio.link(path, target) for path, target in chosen.links.items()]
        nodes += sysroot.matching(packages.path, chosen.files)
        if chosen.applets:
            nodes += sysroot.applet_links(chosen.applets, nodes)
        block.write_nodes(nodes, tree)
        for library in sorted(tree.glob("usr/lib/python3.*")):
            compile_tree(tree, str(library.relative_to(tree)), python.path, store)
        return {"recipe": chosen.name}

    key = {"builder": _BUILDER, "base": _base_identity(chosen), "packages": packages.digest}
    if python is not packages:
        key["python"] = python.digest
    return block.block_image(key, fill, made_by, store, tell, what=f"the {chosen.name} image")


def _base_identity(chosen: Recipe) -> str:
    """Of the recipe without its own files, which are not in the base image."""
    parts = (chosen.files, chosen.applets, chosen.directories, sorted(chosen.links.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
