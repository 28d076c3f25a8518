# SPDX-License-Identifier: GPL-2.0-or-later
"""Which headers, sources and compiler a build takes, and what it says where there are none. No network is used."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import MissingCapability, PassthruError, UserMistake
from passthru.events import tell_nobody
from passthru.image.kbuild import headers, sources, toolchain
from passthru.image.kbuild.build import build_modules
from passthru.image.kbuild.private_root import write_script
from passthru.image.kbuild.recipe import load
from passthru.image.own.recipe import load as load_own
from tests.unit.image.kbuild.made import GCC, build_tree, recipe_directory, user_kernel
from tests.unit.image.made import kernel_with

if TYPE_CHECKING:
    from passthru.image.store import Entry, Store

TOOLS = ("make", "gcc", "as", "ld", "ar", "nm", "objcopy", "objdump", "readelf", "strip")
GNU_MAKE = 'echo "GNU Make 4.3"'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree that a kernel of the user's was built in."""
    return build_tree(tmp_path / "linux")


def gcc(version: str, machine: str = "x86_64-linux-gnu", cc1: str = "/usr/lib/gcc/cc1") -> str:
    """A gcc as far as it is asked about itself."""
    return f"""case $1 in
-dumpfullversion) echo {version};;
-dumpmachine) echo {machine};;
-print-prog-name=cc1) echo {cc1};;
--version) echo "gcc (made) {version}";;
esac"""


class Machine:
    """A machine whose PATH holds the shell and what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sh", "env", "setpriv"):
            places = [Path(place, name) for place in os.defpath.split(":") if place]
            found = next((place for place in places if place.exists()), None)
            if found:
                (folder / name).symlink_to(found)

    def has(self, **programs: str) -> None:
        """A whole toolchain, with these programs instead; an empty one is left out."""
        usual = dict.fromkeys(TOOLS, "echo GNU tool 2.40") | {"make": GNU_MAKE, "gcc": gcc("12.2.0")}
        for name, script in (usual | programs).items():
            if script:
                write_script(self.folder / name.replace("_", "-"), f"#!/bin/sh\n{script}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without any tool to build with, nor apt."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Machine(tmp_path / "bin")


# -- the compiler -----------------------------------------------------------------------------------------------------


def test_the_machine_s_own_compiler_where_it_fits(machine: Machine, tree: Path, store: Store) -> None:
    """Of the kernel's major version; what it says of itself is its identity."""
    machine.has(gcc=gcc("12.4.1"))
    chosen = toolchain.choose(user_kernel(tree), store, tell_nobody)
    assert chosen.told == f"gcc 12.4.1 of this machine ({machine.folder}/gcc)"
    assert chosen.identity == "gcc (made) 12.4.1; GNU tool 2.40"
    commands = chosen.lay_out(machine.folder)
    assert commands.make == machine.folder / "make"
    assert commands.variables["CC"] == f"{machine.folder}/gcc"
    assert commands.variables["STRIP"] == f"{machine.folder}/strip"


def test_the_compiler_of_the_version_s_own_name_is_better(machine: Machine, tree: Path, store: Store) -> None:
    """gcc may be another one."""
    machine.has(gcc=gcc("14.2.0"), gcc_12=gcc("12.2.0"))
    chosen = toolchain.choose(user_kernel(tree), store, tell_nobody)
    assert chosen.told == f"gcc 12.2.0 of this machine ({machine.folder}/gcc-12)"


@pytest.mark.parametrize(
    "programs",
    [
        {"gcc": ""},
        {"gcc": gcc("11.4.0")},
        {"gcc": gcc("12.2.0", machine="arm-linux-gnueabi")},
        {"gcc": gcc("12.2.0", cc1="cc1")},
        {"gcc": "exit 1"},
        {"make": 'echo "GNU Make 3.81"'},
        {"make": ""},
        {"ld": ""},
    ],
    ids=["none", "another version", "another machine", "half a gcc", "broken", "an old make", "no make", "no linker"],
)
def test_a_machine_s_compiler_that_does_not_fit(
    machine: Machine, tree: Path, store: Store, programs: dict[str, str]
) -> None:
    """Debian's is asked for, which is beyond reach here; it is not that the wrong one is taken."""
    machine.has(**programs)
    with pytest.raises(PassthruError, match="apt-get is missing"):
        toolchain.choose(user_kernel(tree), store, tell_nobody)


@pytest.mark.parametrize(
    ("config", "capability"),
    [
        ({"CC_IS_CLANG": "y", "CC_VERSION_TEXT": '"clang version 19"'}, "clang"),
        ({"GCC_VERSION": "90300"}, "gcc 9"),
    ],
)
def test_a_compiler_that_is_not_to_be_had(
    machine: Machine, tree: Path, store: Store, config: dict[str, str], capability: str
) -> None:
    """It is a missing capability, which names it."""
    with pytest.raises(MissingCapability) as error:
        toolchain.choose(user_kernel(tree, {"MODULES": "y", **config}), store, tell_nobody)
    assert error.value.capability == capability


def test_the_own_kernel_s_modules_are_built_with_what_it_was_built_with(
    machine: Machine, tree: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those tools are in the cache already; headers and source are the kernel's own too."""
    asked = []

    def packages_root(suite: str, packages: list[str], *_: object, **__: object) -> Entry:
        asked.append((suite, packages))
        key = {"packages": [f"{name}=1" for name in packages]}
        return store.entry("debian", key, lambda _: None, tell_nobody)

    monkeypatch.setattr(toolchain, "packages_root", packages_root)
    pin = {"key": {"source": ["linux-source-9.9=9.9.1-1"]}}
    own = replace(user_kernel(tree, GCC), source="own", pin=pin)
    chosen = toolchain.choose(own, store, tell_nobody)
    recipe = load_own("amd64")
    assert (asked, chosen.told) == ([(recipe.tools_suite, list(recipe.tools))], "gcc-12 1 of Debian bookworm")
    assert headers.choose(own, store, tell_nobody).told == "the headers of the own kernel"
    assert headers.stamp(own) == ""
    assert sources.source_package(own) == (recipe.suite, "linux-source-9.9", "9.9.1-1")


def test_an_architecture_that_nobody_builds_for(tree: Path, store: Store) -> None:
    """Named as well."""
    with pytest.raises(MissingCapability, match="not for sparc"):
        toolchain.choose(replace(user_kernel(tree), arch="sparc"), store, tell_nobody)


# -- the headers ------------------------------------------------------------------------------------------------------


def test_a_bare_image_has_no_headers(store: Store) -> None:
    """The caller makes a skip of it."""
    with pytest.raises(MissingCapability, match="bare image without its headers") as error:
        headers.choose(user_kernel(None), store, tell_nobody)
    assert error.value.capability == "kernel headers"


def test_a_kernel_that_loads_no_modules(tree: Path, store: Store) -> None:
    """Whatever its headers."""
    with pytest.raises(MissingCapability, match="loads no modules"):
        headers.choose(user_kernel(tree, {"GCC_VERSION": "120200"}), store, tell_nobody)


@pytest.mark.parametrize(
    ("lacking", "what_to_do"), [("include/generated/autoconf.h", "make modules_prepare"), ("Module.symvers", "`make`")]
)
def test_a_build_tree_that_is_not_ready(tree: Path, store: Store, lacking: str, what_to_do: str) -> None:
    """What it lacks, and what to run there."""
    (tree / lacking).unlink()
    with pytest.raises(MissingCapability, match=what_to_do) as error:
        headers.choose(user_kernel(tree), store, tell_nobody)
    assert lacking in str(error.value)


def test_a_build_tree_is_used_where_it_is(tree: Path, tmp_path: Path, store: Store) -> None:
    """Nothing of it is copied, and its identity follows what modules depend on."""
    chosen = headers.choose(user_kernel(tree), store, tell_nobody)
    assert chosen.lay_out(tmp_path / "work") == tree
    (tree / "Module.symvers").write_text("0x1\tprintk\tvmlinux\tEXPORT_SYMBOL\n")
    assert headers.choose(user_kernel(tree), store, tell_nobody).identity != chosen.identity


def test_installed_headers_are_found_by_their_link(tree: Path, tmp_path: Path, store: Store) -> None:
    """/lib/modules/RELEASE/build, as on any machine."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "build").symlink_to(tree)
    assert headers.choose(user_kernel(modules), store, tell_nobody).lay_out(tmp_path) == tree


def test_the_stamp_follows_the_tree(tree: Path) -> None:
    """Cheaply: a hit reads no file of it."""
    kernel = user_kernel(tree)
    before = headers.stamp(kernel)
    assert before == headers.stamp(kernel)
    (tree / ".config").write_text("CONFIG_MODULES=y\nCONFIG_NEW=y\n")
    assert headers.stamp(kernel) != before
    assert headers.stamp(kernel_with(None, pin=True)) == ""


# -- the kernel's own sources -----------------------------------------------------------------------------------------


def test_sources_of_a_build_tree(tree: Path, tmp_path: Path, store: Store) -> None:
    """By name and by pattern, placed as below ``from``."""
    recipe = load(
        recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['*.c', 'one.h', 'reset/*']\n")
    )
    found = sources.of_kernel(recipe, user_kernel(tree), store, tell_nobody)
    assert found == {"one.c": b"int one;\n", "one.h": b"", "reset/two.c": b"int two;\n"}


def test_a_tree_built_apart_from_its_source(tree: Path, tmp_path: Path, store: Store) -> None:
    """make O=: the tree links to it."""
    apart = build_tree(tmp_path / "apart")
    (apart / "samples/one/one.c").unlink()
    (apart / "source").symlink_to(tree)
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['one.c']\n"))
    assert sources.of_kernel(recipe, user_kernel(apart), store, tell_nobody) == {"one.c": b"int one;\n"}


def test_a_source_file_that_the_kernel_lacks(tree: Path, tmp_path: Path, store: Store) -> None:
    """The recipe is wrong, or wrong for this kernel."""
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['gone.c']\n"))
    with pytest.raises(UserMistake, match=r"takes samples/one/gone\.c, which .* does not hold"):
        sources.of_kernel(recipe, user_kernel(tree), store, tell_nobody)


def test_headers_are_no_source(tree: Path, tmp_path: Path, store: Store) -> None:
    """As on a machine with its distribution's headers; nor is a bare image."""
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['one.c']\n"))
    (tree / "kernel/fork.c").unlink()
    (tree / "kernel").rmdir()
    for kernel in (user_kernel(tree), user_kernel(None)):
        with pytest.raises(MissingCapability) as error:
            sources.of_kernel(recipe, kernel, store, tell_nobody)
        assert error.value.capability == "kernel source"


# -- what a recipe demands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("kernels = '>=7'\n", r"builds for kernels >=7, and .* is 6\.9\.0-made"),
        ("config = ['VFIO', 'MODULES', 'MDEV']\n", "needs a kernel with CONFIG_VFIO, CONFIG_MDEV, which"),
    ],
)
def test_a_kernel_that_the_recipe_is_not_good_for(
    tree: Path, tmp_path: Path, store: Store, toml: str, said: str
) -> None:
    """Told before anything is fetched."""
    with pytest.raises(MissingCapability, match=said):
        build_modules(recipe_directory(tmp_path / "one", toml), user_kernel(tree, GCC), store, tell_nobody)
