# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of a rig: busybox and init, kernel modules, and passthru's own code, which change most.

init, bin/busybox                  what runs before the root is put together
layer/                             lies over the base image: modules, passthru's code, settings
layer/etc/passthru/first-modules   files to load before the drives are there, in their order
                   modules         names to load as soon as the root is there
                   drives          serial numbers, and where they are mounted
                   warm-up         a command that reads what will be needed soon
"""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING

from passthru.events import Progress
from passthru.image import block, cpio, module_index
from passthru.image.bytecode import compile_tree
from passthru.image.modules import builtin, plain_name
from passthru.image.own_package import own_files
from passthru.image.qemu_tree import HOME as QEMU_HOME
from passthru.image.tree import file_digest, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.recipe import Recipe
    from passthru.image.rig_modules import Wanted
    from passthru.image.store import Entry, Store
    from passthru.qemu.binary import Qemu

FILE = "initrd.cpio"
FILES_HOME = "/passthru/files"
CODE_HOME = "/passthru/code"

_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""

_LAYER = "layer"
_PLACES = {"qemu": QEMU_HOME, "files": FILES_HOME}
"""Where the drives besides the base image are mounted."""


def code(python: Entry, store: Store, tell: Tell) -> Entry:
    """passthru's own code with bytecode by the Python in the root ``python``, which is for this machine."""
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


def initramfs(
    chosen: Recipe,
    found: Wanted,
    packages: Entry,
    python: Entry,
    drives: Sequence[str],
    qemu: Qemu | None,
    store: Store,
    tell: Tell,
) -> Entry:
    """The initramfs (FILE in the entry) of a rig with these drives, where ``qemu`` will be started soon, if any.

    The fact ``modules`` of the entry names the modules in it. Raises what modules.closure() raises.
    """
    kernel = found.kernel
    own = code(python, store, tell)
    warm_up = _warm_up(qemu) if qemu else ""
    # A kernel of Debian's is what its pin says; one of the user's may be built anew any time, so its modules are read.
    loaded = found.load_all(tell) if kernel.pin is None else None
    key: dict[str, str | Sequence[str]] = {
        "builder": _BUILDER,
        "recipe": chosen.identity,
        "packages": packages.digest,
        "code": own.digest,
        "drives": list(drives),
        "warm-up": warm_up,
        "kernel": f"{kernel.release} {kernel.identity}",
        "first": list(found.first),
        "asked": list(found.asked),
        "later": list(found.later),
        "modules": [f"{module.path} {hashlib.sha256(module.data).hexdigest()}" for module in loaded or ()],
        "built": [f"{name} {file_digest(path)}" for name, path in found.built.items()],
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
            _list("modules", [plain_name(name) for name in found.asked]),
            _list("warm-up", [f"{warm_up} -version"] if warm_up else []),
            _list("drives", [f"{serial} {_PLACES[serial]}" for serial in drives if serial in _PLACES]),
        ]
        nodes += _frame(chosen, packages)
        nodes += [
            cpio.file(f"{_LAYER}/{path}", (own.path / path).read_bytes())
            for path, _ in walk(own.path)
            if (own.path / path).is_file()
        ]
        with (tree / FILE).open("wb") as stream:
            cpio.write(stream, nodes)
        tell(Progress("building the rig's initramfs", 1, 1, "steps", finished=True))
        return {"recipe": chosen.name, "modules": [module.name for module in modules]}

    return store.entry("rig-initrd", key, build, tell, what="the rig's initramfs")


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


def _warm_up(qemu: Qemu) -> str:
    return shlex.join(["env", *(f"{name}={value}" for name, value in sorted(qemu.env.items())), *qemu.command])


def _list(name: str, lines: Sequence[str]) -> cpio.Node:
    return cpio.file(f"{_LAYER}/etc/passthru/{name}", "".join(f"{line}\n" for line in lines).encode())
