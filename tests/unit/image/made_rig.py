# SPDX-License-Identifier: GPL-2.0-or-later
"""Made packages that a rig's images come out of: their programs are scripts, and a block image is JSON."""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING, Any

from passthru.events import tell_nobody
from passthru.image.debian import KIND
from passthru.qemu.binary import Qemu
from tests.unit.image.test_guest import APPLETS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.image.store import Entry, Store

RECIPE = """
summary = "made"
suite = "bookworm"
packages = ["tool"]
files = ["usr/bin/busybox", "usr/lib/python3.11"]
applets = "usr/bin/busybox"
directories = ["proc"]
[links]
"bin" = "usr/bin"
[own]
"own/init" = "init"
"own/up" = "layer/up"
"""

LOADER = '#!/bin/sh\nshift 2\n[ "$1" = --argv0 ] && shift 2\nexec "$@"\n'
PYTHON = f'#!/bin/sh\nunset PYTHONHOME PYTHONPATH\nexec {sys.executable} "$@"\n'
MKFS = f"""#!{sys.executable}
import json, os, pathlib, sys
image, tree = map(pathlib.Path, sys.argv[-2:])
if "REFUSED" in os.listdir(tree):
    sys.exit("mkfs: refused")
found = {{}}
for path in sorted(tree.rglob("*")):
    if path.is_symlink():
        found[str(path.relative_to(tree))] = f"link {{os.readlink(path)}}"
    elif path.is_dir():
        found[str(path.relative_to(tree))] = "dir"
    else:
        word = "exec" if path.stat().st_mode & 0o100 else "file"
        found[str(path.relative_to(tree))] = f"{{word}} {{path.read_bytes().decode('latin-1')}}"
image.write_text(json.dumps(found))
"""


def recipe(home: Path) -> Path:
    """A recipe with files of its own."""
    (home / "own").mkdir(parents=True)
    for name in ("init", "up"):
        (home / "own" / name).write_text(f"#!/bin/sh\n# {name}\n")
    path = home / "made.toml"
    path.write_text(RECIPE)
    return path


def fetched(store: Store, arch: str = "amd64") -> None:
    """The packages of the recipe and of mkfs.erofs, as if they were fetched before; Python runs here only."""
    packages: dict[str, str | bytes] = {
        "usr/bin/python3": PYTHON if arch == "amd64" else "of another machine",
        "usr/bin/busybox": APPLETS,
        "usr/lib/python3.11/here.py": f"HERE = {arch!r}\n",
    }
    entry(store, "tool=1", f"bookworm {arch} tool", packages, arch=arch)
    entry(store, "erofs-utils=1", "bookworm amd64 erofs-utils", {"usr/bin/mkfs.erofs": MKFS})


def debian_qemu(
    store: Store, more: Mapping[str, str | bytes] | None = None, version: str = "1", arch: str = "amd64"
) -> Qemu:
    """A QEMU of Debian's, in the cache; ``more`` are files beside the usual ones, ``arch`` is what it runs on."""
    files: dict[str, str | bytes] = {
        "usr/bin/qemu-system-x86_64": "qemu",
        "usr/share/qemu/kvmvapic.bin": "vapic",
        "usr/share/qemu/bios-256k.bin": "bios",
        "usr/share/qemu/skiboot.lid": "not a PC's",
        **(more or {}),
    }
    made = entry(store, f"qemu-system-x86={version}", f"sid {arch} qemu-system-x86", files, arch=arch)
    (made.path / "usr/share/qemu/bios.bin").symlink_to("bios-256k.bin")
    loader = made.path / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    command = (str(loader), "--library-path", str(loader.parent), str(made.path / "usr/bin/qemu-system-x86_64"))
    data = ("-L", str(made.path / "usr/share/qemu"))
    return a_qemu((*command, *data), root=made.pin, env={"QEMU_MODULE_DIR": str(loader.parent / "qemu")})


def a_qemu(command: tuple[str, ...], **more: Any) -> Qemu:
    """A QEMU that was asked before."""
    nothing = frozenset[str]()
    return Qemu("11.1.0", "", "x86_64", nothing, nothing, nothing, "made", command, "identity", **more)


def in_image(path: Path) -> dict[str, str]:
    """What a made block image holds."""
    found: dict[str, str] = json.loads(path.read_text())
    return found


def entry(store: Store, exact: str, alias: str, files: Mapping[str, str | bytes], *, arch: str = "amd64") -> Entry:
    """A root of packages that means ``alias`` from now on."""

    def build(tree: Path) -> None:
        loader = f"usr/lib/{platform.machine()}-linux-gnu/ld-linux-x86-64.so.2"
        for name, data in {loader: LOADER, **files}.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
            path.chmod(0o755 if "bin/" in name or name == loader else 0o644)

    made = store.entry(KIND, {"arch": arch, "packages": [exact]}, build, tell_nobody)
    store.set_alias(KIND, alias, made)
    return made
