# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU as it is brought into a rig: the program, its libraries and loader, its modules, and what it boots a PC with.

One of Debian's keeps the paths that it has in its root. One of this machine's own (a local build) is taken with the
libraries that this machine's loader finds for it, and is told where its data and its modules are: started by a loader
of its own, it cannot find them by itself.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.image import cpio, sysroot
from passthru.image.arch import machine_arch
from passthru.image.command import CommandFailed, run
from passthru.image.elf import Needs, NotElf, needs
from passthru.image.tree import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from passthru.image.store import Store
    from passthru.qemu.binary import Qemu

HOME = "/passthru/qemu"
"""Where it will be in the rig."""

_SECONDS = 30.0
_DATA = re.compile(r"(bios|vgabios|kvmvapic|linuxboot|multiboot|pvh|qboot|efi-|pxe-|edk2-(x86_64|i386)).*")
"""Firmware and option ROMs of a PC, of all that is in QEMU's data directories."""
_MODULE = re.compile(r"(accel|hw)-.+\.so")
_TRACED = re.compile(r"(?:(\S+) => )?(/.+) \(0x[0-9a-f]+\)")
_LACKING = re.compile(r"(\S+) => not found")


@dataclass(frozen=True)
class QemuTree:
    """``qemu`` is as it will be started in the rig; ``files`` maps paths there, below HOME, to files of here."""

    qemu: Qemu
    files: Mapping[str, Path]
    identity: str
    """Changes with what is brought."""


def tree_of(qemu: Qemu, arch: str, store: Store) -> QemuTree:
    """What has to be brought so that ``qemu`` runs in a rig of this architecture (Debian's word). Raises Unusable."""
    of = str(qemu.root["key"]["arch"]) if qemu.root else machine_arch()
    if of != arch:
        raise Unusable(
            f"{qemu.title} is a program for {of} and cannot run in a rig of {arch}; name debian:SUITE as the guest's "
            "QEMU, and passthru fetches it for the rig"
        )
    if qemu.root:
        return _of_root(qemu, qemu.root, store)
    return _of_machine(qemu)


def nodes_of(tree: QemuTree) -> list[cpio.Node]:
    """The files themselves."""
    return [_node(path, real, tree.files) for path, real in tree.files.items()]


def _node(path: str, real: Path, files: Mapping[str, Path]) -> cpio.Node:
    if real.is_symlink():
        target = str(real.readlink())
        if posixpath.normpath(posixpath.join("/", path, "..", target)).lstrip("/") in files:
            return cpio.link(path, target)
    return cpio.file(path, real.read_bytes(), executable=os.access(real, os.X_OK))


def _of_root(qemu: Qemu, pin: Mapping[str, Any], store: Store) -> QemuTree:
    entry = store.pinned(pin)
    if entry is None:
        raise Unusable(f"{qemu.title} has just vanished from the cache {store.root}; try again")
    root = entry.path
    inside = [word.removeprefix(f"{root}/") for word in qemu.command if word.startswith(f"{root}/")]
    folders = [root / word for word in inside if (root / word).is_dir()]
    programs = [word for word in inside if (root / word).is_file() and ":" not in word]
    taken = {node.path: node for node in sysroot.take(root, programs)}
    for folder in folders:
        for path in _matching(folder, _DATA):
            taken.update((node.path, node) for node in sysroot.take(root, [str(path.relative_to(root))]))
    libraries = {Path(path).name for path in taken}
    for path in _matching(Path(qemu.env.get("QEMU_MODULE_DIR", "/nowhere")), _MODULE):
        if set(_needs(path).libraries) <= libraries:
            taken[str(path.relative_to(root))] = cpio.file(str(path.relative_to(root)), b"")
    files = {path: root / path for path in taken if (root / path).is_file()}
    there = replace(
        qemu,
        command=tuple(_moved(word, root) for word in qemu.command),
        env={name: _moved(value, root) for name, value in qemu.env.items()},
    )
    return QemuTree(there, files, f"{qemu.identity} {entry.digest}")


def _moved(text: str, root: Path) -> str:
    return text.replace(str(root), HOME)


def _of_machine(qemu: Qemu) -> QemuTree:
    program = Path(qemu.command[0]).resolve()
    loader, libraries = _traced(program, qemu)
    files = {f"bin/{program.name}": program}
    files.update((f"lib/{name}", path) for name, path in libraries.items())
    words: list[str] = []
    if loader:
        files[f"lib/{loader.name}"] = loader
        words = [f"{HOME}/lib/{loader.name}", "--library-path", f"{HOME}/lib"]
    for path in _data(qemu):
        files.setdefault(f"share/{path.name}", path)
    for path in _modules(program):
        if set(_needs(path).libraries) <= libraries.keys():
            files.setdefault(f"modules/{path.name}", path)
    there = replace(
        qemu,
        command=(*words, f"{HOME}/bin/{program.name}", *qemu.command[1:], "-L", f"{HOME}/share"),
        env={**qemu.env, "QEMU_MODULE_DIR": f"{HOME}/modules"},
    )
    return QemuTree(there, files, " ".join(f"{path} {file_digest(real)}" for path, real in sorted(files.items())))


def _traced(program: Path, qemu: Qemu) -> tuple[Path | None, dict[str, Path]]:
    """The loader of a program (None: it needs none) and soname -> library, as the loader finds them (ld.so(8))."""
    try:
        loader = needs(program.read_bytes()).loader
    except NotElf as error:
        raise Unusable(
            f"{qemu.source} is a script or no program of this machine, so it cannot be brought into a rig; name the "
            "program that it starts, or debian:SUITE, as host.qemu"
        ) from error
    if loader is None:
        return None, {}
    try:
        shown = run([loader, "--list", program], seconds=_SECONDS).stdout.decode(errors="replace")
    except CommandFailed as failed:
        raise Unusable(
            f"the libraries of {qemu.source} cannot be found: {failed.last_words}; install them, or name debian:SUITE "
            "as host.qemu"
        ) from failed
    lacking = _LACKING.search(shown)
    if lacking:
        raise Unusable(f"{qemu.source} needs the library {lacking[1]}, which is not installed here; install it")
    found = {name or Path(path).name: Path(path).resolve() for name, path in _TRACED.findall(shown)}
    found.pop(Path(loader).name, None)
    return Path(loader).resolve(), {name: path for name, path in found.items() if "/" not in name}


def _data(qemu: Qemu) -> Iterable[Path]:
    """Firmware, from the directories where the program itself looks for it."""
    try:
        shown = run([*qemu.command, "-L", "help"], seconds=_SECONDS, env=qemu.env).stdout.decode(errors="replace")
    except CommandFailed as failed:
        raise Unusable(f"{qemu.source} does not tell where its firmware is: {failed.last_words}") from failed
    for line in shown.splitlines():
        yield from _matching(Path(line.strip()), _DATA)


def _modules(program: Path) -> Iterable[Path]:
    """Its modules, if it has any: in its build tree, or where it was installed."""
    above = program.parent.parent
    for folder in (program.parent, above / "lib/qemu", above / "lib64/qemu", *sorted(above.glob("lib/*-linux-*/qemu"))):
        yield from _matching(folder, _MODULE)


def _matching(folder: Path, pattern: re.Pattern[str]) -> Sequence[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if pattern.fullmatch(path.name) and path.is_file()]
    except OSError:
        return []


def _needs(path: Path) -> Needs:
    return needs(path.read_bytes())
