# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest images from made packages: what is in them, and that they are the same each time."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.events import tell_nobody
from passthru.image import guest, sysroot
from passthru.image.debian import KIND
from passthru.image.elf import NotElf, modinfo, needs
from passthru.image.recipe import load
from tests.unit.image.made import RELEASE, kernel_with, module
from tests.unit.image.test_cpio import read

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.store import Store

RECIPE = """
summary = "made"
suite = "bookworm"
packages = ["tool", "busybox"]
files = ["usr/bin/busy*", "usr/share/data"]
applets = "usr/bin/busybox"
directories = ["proc", "tmp"]
[links]
"bin" = "usr/bin"
[own]
"own/init" = "init"
"""
APPLETS = b"\0".join([b"\x7fNOT-ELF", b"[", b"[[", b"ash", b"cat", b"data", b"7z", b"zcat", b""])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with a file of its own."""
    (tmp_path / "images/own").mkdir(parents=True)
    (tmp_path / "images/own/init").write_text("#!/bin/sh\n")
    path = tmp_path / "images/made.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def packages(store: Store) -> None:
    """The packages of the recipe, as if they were fetched before."""

    def build(tree: Path) -> None:
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "usr/bin/busybox").write_bytes(APPLETS)
        (tree / "usr/bin/busybox").chmod(0o755)
        (tree / "usr/bin/unwanted").write_text("x")
        (tree / "usr/share/real").mkdir(parents=True)
        (tree / "usr/share/real/table").write_text("table")
        (tree / "usr/share/data").symlink_to("/usr/share/real")

    entry = store.entry(KIND, {"arch": "amd64", "packages": ["busybox=1", "tool=1"]}, build, tell_nobody)
    store.set_alias(KIND, "bookworm amd64 busybox tool", entry)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Two modules, one of which needs the other."""
    root = tmp_path / "modules/kernel"
    root.mkdir(parents=True)
    (root / "a.ko").write_bytes(module("a", depends="b"))
    (root / "b.ko").write_bytes(module("b"))
    return root.parent


@pytest.mark.usefixtures("packages")
def test_what_is_in_an_image(recipe: Path, modules: Path, store: Store) -> None:
    """What the recipe names, links resolved inside the root, applets, modules and the order to load them."""
    image = guest.build_guest(str(recipe), kernel_with(modules), ["a"], store, tell_nobody)
    found = read(image.path.read_bytes())
    home = f"usr/lib/modules/{RELEASE}"
    assert found["init"].data == b"#!/bin/sh\n"
    assert found["init"].mode & 0o111
    assert found["usr/share/data"].data == b"/usr/share/real"
    assert found["usr/share/real/table"].data == b"table"
    assert "usr/bin/unwanted" not in found
    assert {name for name in found if found[name].data == b"busybox"} == {
        f"usr/bin/{name}" for name in ("[", "[[", "ash", "cat", "data")
    }
    assert found["etc/passthru/modules"].data.decode().splitlines() == [
        f"/lib/modules/{RELEASE}/kernel/b.ko",
        f"/lib/modules/{RELEASE}/kernel/a.ko",
    ]
    assert found[f"{home}/kernel/a.ko"].data == module("a", depends="b")
    assert found[f"{home}/modules.dep"].data == b"kernel/b.ko:\nkernel/a.ko: kernel/b.ko\n"
    assert (found["dev/console"].device, found["dev/null"].device) == ((5, 1), (1, 3))
    assert image.modules == ("b", "a")


@pytest.mark.usefixtures("packages")
def test_the_same_inputs_give_the_same_bytes(recipe: Path, modules: Path, store: Store) -> None:
    """Built anew, and from files that are newer and of other modes."""
    first = guest.build_guest(str(recipe), kernel_with(modules), ["a"], store, tell_nobody)
    content = first.path.read_bytes()
    shutil.rmtree(first.path.parent.parent)
    (modules / "kernel/a.ko").touch()
    (modules / "kernel/a.ko").chmod(0o600)
    second = guest.build_guest(str(recipe), kernel_with(modules), ["a"], store, tell_nobody)
    assert second.path == first.path
    assert second.path.read_bytes() == content
    assert second.pin == first.pin


@pytest.mark.usefixtures("packages")
def test_what_changes_an_image(recipe: Path, modules: Path, store: Store) -> None:
    """Other modules, a module that was built anew, another file of the recipe's own."""

    def path(*names: str) -> Path:
        return guest.build_guest(str(recipe), kernel_with(modules), names, store, tell_nobody).path

    seen = {path("a"), path("b"), path()}
    (modules / "kernel/b.ko").write_bytes(module("b", author="me"))
    seen.add(path("a"))
    (recipe.parent / "own/init").write_text("#!/bin/sh\n# changed\n")
    seen.add(path("a"))
    assert len(seen) == 5
    assert path("a") in seen


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("suite = 1", "suite is not a string"),
        ("packages = 'one'", "packages is not a list of strings"),
        ("files = [1]", "files is not a list of strings"),
        ("links = ['x']", "links is not a table"),
        ("typo = 1", "unknown key: typo"),
        ("= nonsense", "cannot be read"),
        ("own = 3", "[own] is no table"),
        ("files = ['../../etc/passwd']", "leaves the image"),
    ],
)
def test_a_wrong_recipe(tmp_path: Path, wrong: str, said: str) -> None:
    """File and key are named."""
    path = tmp_path / "wrong.toml"
    whole = {"suite": '"bookworm"', "packages": '["x"]', wrong.partition(" ")[0]: wrong.partition("= ")[2]}
    path.write_text(wrong if wrong.startswith("=") else "".join(f"{key} = {value}\n" for key, value in whole.items()))
    with pytest.raises(UserMistake) as error:
        load(str(path))
    assert said in str(error.value)


def test_a_recipe_that_is_missing() -> None:
    """The known ones are named."""
    with pytest.raises(UserMistake, match=r"known are floor, guest"):
        load("nosuch")


@pytest.mark.parametrize("name", ["guest", "floor"])
def test_our_own_recipes(name: str) -> None:
    """They are whole, and what runs first is among them."""
    assert "init" in load(name).own


@pytest.mark.usefixtures("packages")
def test_a_file_that_no_package_holds(recipe: Path, store: Store) -> None:
    """The pattern is named."""
    recipe.write_text(RECIPE.replace("usr/share/data", "usr/share/nosuch"))
    with pytest.raises(Unusable, match="hold no usr/share/nosuch"):
        guest.build_guest(str(recipe), kernel_with(None), [], store, tell_nobody)
    assert list((store.root / "scratch").iterdir()) == []


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture
def program(tmp_path: Path) -> bytes:
    """A program that needs libm and libc, from this machine's compiler."""
    argv = ["gcc", "-x", "c", "-", "-o", str(tmp_path / "program"), "-Wl,--no-as-needed", "-lm"]
    done = subprocess.run(argv, input=b"int main(void) { return 0; }", check=False, timeout=60)
    if done.returncode != 0:
        pytest.skip("gcc cannot link a program (libc6-dev is not installed)")
    return (tmp_path / "program").read_bytes()


@needs_gcc
def test_what_a_program_needs(program: bytes) -> None:
    """Its loader and its libraries, as the linker wrote them."""
    found = needs(program)
    assert found.loader is not None
    assert found.loader.startswith("/lib")
    assert found.libraries[:2] == ("libm.so.6", "libc.so.6")
    with pytest.raises(NotElf):
        needs(program[:200])
    with pytest.raises(NotElf):
        modinfo(program)


@pytest.mark.parametrize(
    "data",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60), b"\x7fELF\x02\x01" + b"\xff" * 60],
    ids=["empty", "script", "magic", "zeros", "ones"],
)
def test_what_is_no_program(data: bytes) -> None:
    """Nothing of it is followed."""
    for reader in (needs, modinfo):
        with pytest.raises(NotElf):
            reader(data)


@needs_gcc
def test_libraries_come_along(tmp_path: Path, program: bytes) -> None:
    """With the links on the way to them; a missing one is named."""
    root = tmp_path / "root"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "usr/bin/program").write_bytes(program)
    (libraries / "libm-2.so").write_text("libm")
    (libraries / "libm.so.6").symlink_to("libm-2.so")
    loader = needs(program).loader
    assert loader
    (root / "usr/lib64").mkdir()
    for name in ("lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (libraries / "loader").write_text("loader")
    place = root / loader.lstrip("/")
    place.parent.resolve().mkdir(parents=True, exist_ok=True)
    place.symlink_to("/lib/x86_64-linux-gnu/loader")
    with pytest.raises(Unusable, match=r"/usr/bin/program needs the library libc\.so\.6"):
        sysroot.take(root, ["usr/bin/program"])
    (libraries / "libc.so.6").write_text("libc")
    found = {node.path: node for node in sysroot.take(root, ["usr/bin/program"])}
    assert found["usr/lib/x86_64-linux-gnu/libm.so.6"].data == b"libm-2.so"
    assert found["usr/lib/x86_64-linux-gnu/libm-2.so"].data == b"libm"
    assert found["usr/lib/x86_64-linux-gnu/loader"].data == b"loader"
    assert found["lib"].data == b"usr/lib"


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    """A circle ends, and what is missing is named; no link leads out of the root."""
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "out").symlink_to("../../../../../etc/passwd")
    for name in ("circle", "out", "missing"):
        with pytest.raises(Unusable, match=f"/{name} is missing"):
            sysroot.take(tmp_path, [name])
