# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rig boots from: a kernel, an initramfs, and read-only drives that are told apart by their serial numbers.

    base     Debian packages by a recipe (images/rig.toml), with bytecode
    qemu     the QEMU that will run the guest there
    files    what the run brings in

Kernel modules, init and passthru's own code are in the initramfs, as they change most. Each part is made once.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable, UserMistake
from passthru.events import Progress
from passthru.image import block, cpio, module_index, sysroot
from passthru.image.arch import machine_arch
from passthru.image.bytecode import compile_tree
from passthru.image.debian import packages_root, pins_of
from passthru.image.direct import direct_image
from passthru.image.modules import builtin
from passthru.image.own_package import own_files
from passthru.image.qemu_tree import HOME as QEMU_HOME
from passthru.image.qemu_tree import nodes_of, tree_of
from passthru.image.recipe import load
from passthru.image.rig_modules import wanted
from passthru.image.tree import listing, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.errors import MissingCapability
    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.recipe import Recipe
    from passthru.image.rig_modules import Wanted
    from passthru.image.store import Entry, Store
    from passthru.qemu.binary import Qemu

FILES_HOME = "/passthru/files"
CODE_HOME = "/passthru/code"
PYTHON = "/usr/bin/python3"

_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""

_LAYER = "layer"
"""The directory of the initramfs that lies over the base image (images/rig/init)."""

_STDLIB = "usr/lib/python3.11"


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
    qemu: Qemu
    modules: tuple[str, ...]
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)
    pins: Mapping[str, Any] = field(default_factory=dict, repr=False)


def build_rig(
    kernel: Kernel,
    modules: Sequence[str],
    qemu: Qemu,
    files: Mapping[str, Path],
    store: Store,
    tell: Tell,
    *,
    recipe: str = "rig",
    pins: Mapping[str, Any] | None = None,
    update: bool = False,
) -> RigImage:
    """The images of a rig of ``kernel``, each built once. Blocks: call it in a thread of its own.

    ``modules`` are loaded at boot: the kernel's, recipes of images/modules, or directories (with .ko files, or a Kbuild).
    ``files`` maps names below FILES_HOME to files or directories of this machine. ``pins`` (RigImage.pins of a lock
    file) settles the versions of all packages. Raises Unusable: a kernel, QEMU or module that cannot be used in a rig,
    what debian.packages_root() raises; UserMistake: no such recipe, file or directory.
    """
    chosen = load(recipe)
    pins = pins or {}
    _demand_arch(kernel, qemu)
    found = wanted(kernel, modules, store, tell, update=update)
    packages = _packages(chosen, kernel.arch, store, tell, pins.get("packages"), update=update)
    same = kernel.arch == machine_arch()
    python = packages if same else _packages(chosen, machine_arch(), store, tell, None, update=update)
    made_by = block.tools(store, tell, pin=pins.get("tools"), update=update)
    base = _base(chosen, packages, python, made_by, store, tell)
    drives = {"base": base}
    tree = tree_of(qemu, store)
    key = {"builder": _BUILDER, "qemu": tree.identity}
    drives["qemu"] = block.block_image(
        key,
        lambda place: block.write_nodes(nodes_of(tree), place),
        made_by,
        store,
        tell,
        what=f"{qemu.title} for a rig",
    )
    if files:
        drives["files"] = _files(files, made_by, store, tell)
    initrd = _initrd(chosen, found, packages, _code(python, store, tell), drives, store, tell)
    return RigImage(
        kernel=kernel,
        boot=direct_image(kernel, store, tell),
        initrd=initrd.path / "initrd.cpio",
        drives=tuple(Drive(serial, block.image_file(entry)) for serial, entry in drives.items()),
        qemu=tree.qemu,
        modules=tuple(initrd.facts["modules"]),
        missing=found.missing,
        pins={
            "packages": packages.pin,
            "tools": made_by.pin,
            "initrd": initrd.pin,
            "drives": {serial: entry.pin for serial, entry in drives.items()},
            "built": {entry.facts["recipe"]: {"pin": entry.pin, **entry.facts} for entry in found.entries},
        },
    )


def _demand_arch(kernel: Kernel, qemu: Qemu) -> None:
    if kernel.arch != "amd64" or (machine_arch() != "amd64"):
        raise Unusable(
            f"{qemu.title} of this {machine_arch()} machine cannot run in a rig of {kernel.source} ({kernel.arch}); rigs "
            "are amd64 only, on amd64 machines"
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
        compile_tree(tree, _STDLIB, python.path, store)
        return {"recipe": chosen.name}

    key = {"builder": _BUILDER, "base": _base_identity(chosen), "packages": packages.digest}
    return block.block_image(key, fill, made_by, store, tell, what=f"the {chosen.name} image")


def _base_identity(chosen: Recipe) -> str:
    """Of the recipe without its own files, which are not in the base image."""
    parts = (chosen.files, chosen.applets, chosen.directories, sorted(chosen.links.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _files(files: Mapping[str, Path], made_by: Entry, store: Store, tell: Tell) -> Entry:
    """The drive with what the run brings in, addressed by the content."""
    lines = []
    for name, path in sorted(files.items()):
        if "/" in name or name in ("", ".", ".."):
            raise UserMistake(f"{name!r} is no name for a file in a rig; write one without a slash")
        try:
            lines += [f"{name} {line}" for line in _described(path.resolve(strict=True))]
        except OSError as error:
            raise UserMistake(
                f"{path} cannot be brought into the rig: {error.strerror}; name a file that you may read"
            ) from error

    def fill(tree: Path) -> None:
        for name, path in files.items():
            if path.is_dir():
                shutil.copytree(path, tree / name, symlinks=True)
            else:
                shutil.copyfile(path, tree / name)
                (tree / name).chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)

    return block.block_image(
        {"builder": _BUILDER, "files": lines}, fill, made_by, store, tell, what="the files for the rig"
    )


def _described(path: Path) -> list[str]:
    if path.is_dir():
        return [f"{below} {what}" for below, what in sorted(listing(path).items())]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return [f"{'exec' if path.stat().st_mode & 0o100 else 'file'} {digest}"]


def _code(python: Entry, store: Store, tell: Tell) -> Entry:
    """passthru's own code with bytecode."""
    own = own_files()
    digest = hashlib.sha256()
    for path, data in own.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)

    def build(tree: Path) -> None:
        home = CODE_HOME.lstrip("/")
        block.write_nodes([cpio.file(f"{home}/{path}", data) for path, data in own.items()], tree)
        compile_tree(tree, home, python.path, store)

    key = {"builder": _BUILDER, "code": digest.hexdigest(), "python": python.digest}
    return store.entry("rig-code", key, build, tell, what="passthru's code for rigs")


def _initrd(
    chosen: Recipe, found: Wanted, packages: Entry, code: Entry, drives: Mapping[str, Entry], store: Store, tell: Tell
) -> Entry:
    kernel = found.kernel
    # A kernel of Debian's is what its pin says; one of the user's may be built anew any time, so its modules are read.
    loaded = found.load_all(tell) if kernel.pin is None else None
    key: dict[str, str | Sequence[str]] = {
        "builder": _BUILDER,
        "recipe": chosen.identity,
        "packages": packages.digest,
        "code": code.digest,
        "drives": list(drives),
        "kernel": f"{kernel.release} {kernel.identity}",
        "first": list(found.first),
        "asked": list(found.asked),
        "later": list(found.later),
        "modules": [f"{module.path} {hashlib.sha256(module.data).hexdigest()}" for module in loaded or ()],
        "built": [f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in found.built.items()],
    }

    def build(tree: Path) -> Mapping[str, object]:
        tell(Progress("building the rig's initramfs", 0, 1, "steps"))
        modules = loaded if loaded is not None else found.load_all(tell)
        home = f"{_LAYER}/usr/lib/modules/{kernel.release}"
        nodes = [cpio.file(f"{home}/{module.path}", module.data) for module in modules]
        index = module_index.index_files(modules, builtin(kernel))
        nodes += [cpio.file(f"{home}/{name}", data) for name, data in index.items()]
        first = [f"/lib/modules/{kernel.release}/{module.path}" for module in found.load_first(tell)]
        nodes += [
            _list("first-modules", first),
            _list("modules", found.asked),
            _list("drives", [f"{serial} {_PLACES[serial]}" for serial in drives if serial in _PLACES]),
        ]
        nodes += _frame(chosen, packages)
        nodes += [
            cpio.file(f"{_LAYER}/{path}", (code.path / path).read_bytes())
            for path, _ in walk(code.path)
            if (code.path / path).is_file()
        ]
        with (tree / "initrd.cpio").open("wb") as stream:
            cpio.write(stream, nodes)
        tell(Progress("building the rig's initramfs", 1, 1, "steps", finished=True))
        return {"recipe": chosen.name, "modules": [module.name for module in modules]}

    return store.entry("rig-initrd", key, build, tell, what="the rig's initramfs")


_PLACES = {"qemu": QEMU_HOME, "files": FILES_HOME}
"""Where the drives besides the base image are mounted."""


def _frame(chosen: Recipe, packages: Entry) -> list[cpio.Node]:
    """busybox and the directories of the initramfs, the recipe's own files, and what must be there to mount upon."""
    places = ["base", "fresh", "new", "dev", "proc", "sys", *(f"{_LAYER}{place}" for place in _PLACES.values())]
    nodes = [cpio.directory(place) for place in places]
    nodes += [cpio.link("lib", f"{_LAYER}/usr/lib")]
    nodes += [cpio.character_device("dev/console", 5, 1), cpio.character_device("dev/null", 1, 3, 0o666)]
    busybox = packages.path / (chosen.applets or "usr/bin/busybox")
    nodes.append(cpio.file("bin/busybox", busybox.read_bytes(), executable=True))
    nodes += [cpio.file(path, data, executable=True) for path, data in chosen.own.items()]
    root = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "hostname": "rig\n"}
    return [*nodes, *(cpio.file(f"{_LAYER}/etc/{name}", text.encode()) for name, text in root.items())]


def _list(name: str, lines: Sequence[str]) -> cpio.Node:
    return cpio.file(f"{_LAYER}/etc/passthru/{name}", "".join(f"{line}\n" for line in lines).encode())
