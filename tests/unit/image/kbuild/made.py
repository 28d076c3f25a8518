# SPDX-License-Identifier: GPL-2.0-or-later
"""Made recipes and build trees: what a module build is given, small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from passthru.image.kernel import Kernel
from tests.unit.image.made import RELEASE, bzimage

if TYPE_CHECKING:
    from collections.abc import Mapping

GCC = {"MODULES": "y", "GCC_VERSION": "120200", "CC_VERSION_TEXT": '"gcc-12 12.2.0"'}


def recipe_directory(home: Path, toml: str | None = "", **files: str) -> Path:
    """A recipe with a Kbuild and ``files``; a file's name has _ for its dot."""
    home.mkdir(parents=True)
    (home / "Kbuild").write_text(f"obj-m := {home.name}.o\n")
    if toml is not None:
        (home / "recipe.toml").write_text(toml)
    for name, text in files.items():
        (home / name.replace("_", ".")).write_text(text)
    return home


def user_kernel(tree: Path | None, config: Mapping[str, str] | None = None) -> Kernel:
    """A kernel of the user's own: with the tree that it was built in, or as a bare image."""
    return Kernel(
        image=(tree or Path("/nowhere")) / "bzImage",
        release=RELEASE,
        config=GCC if config is None else config,
        modules=tree,
        arch="amd64",
        source=str(tree or "/nowhere/bzImage"),
        identity="0" * 64,
    )


def build_tree(home: Path) -> Path:
    """What `make modules_prepare` and a build leave of a kernel's tree, as far as a module build looks at it."""
    files = {
        "Makefile": "# the kernel's\n",
        ".config": "CONFIG_MODULES=y\n",
        "Module.symvers": "0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\n",
        "include/generated/autoconf.h": "#define CONFIG_MODULES 1\n",
        "kernel/fork.c": "",
        "samples/one/one.c": "int one;\n",
        "samples/one/one.h": "",
        "samples/one/reset/two.c": "int two;\n",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "arch/x86/boot").mkdir(parents=True)
    (home / "arch/x86/boot/bzImage").write_bytes(bzimage())
    return home
