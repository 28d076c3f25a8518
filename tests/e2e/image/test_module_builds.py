# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel modules built for Debian's real kernels, and loaded by them."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import tell_nobody
from passthru.image.elf import modinfo
from passthru.image.guest import build_guest
from passthru.image.kbuild import headers
from passthru.image.kbuild.build import build_modules, built_files
from passthru.image.kernel import Kernel, resolve
from passthru.image.modules import available
from passthru.image.store import Store
from tests.e2e.guest.machine import booted

if TYPE_CHECKING:
    from tests.e2e.guest.machine import Parts

HELLO = Path("tests/modules/hello").absolute()
CLOUD = "debian:bookworm/cloud"
NEWER = "debian:bookworm-backports"
_BUILD_TOOLS = re.compile(
    r".*(gcc|g\+\+|clang|-ld|^cc|^c\d\d).*|make|gmake|as|ld(\..*)?|ar|nm|objcopy|objdump|readelf|strip"
)


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH holds all that it does, but nothing to build with: as on a Debian that was just installed."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in sorted(Path(place).glob("*")):
            there = folder / program.name
            if not _BUILD_TOOLS.fullmatch(program.name) and not there.is_symlink():
                there.symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    assert shutil.which("gcc") is None and shutil.which("make") is None


def fresh_store(home: Path, *more: str) -> Store:
    """A cache of its own that shares with the usual one what was fetched, and ``more`` kinds of what was made."""
    usual = Store()
    for kind in ("debian", *more):
        for place in ("entries", "aliases"):
            (usual.root / place / kind).mkdir(parents=True, exist_ok=True)
            (home / place).mkdir(parents=True, exist_ok=True)
            (home / place / kind).symlink_to(usual.root / place / kind)
    return Store(home)


def kernel(spec: str) -> Kernel:
    """One of Debian's."""
    return resolve(spec, Store(), tell_nobody)


@pytest.mark.parametrize("spec", [CLOUD, NEWER])
async def test_a_module_is_built_loaded_and_speaks(spec: str, parts: Parts) -> None:
    """It comes into the guest by its name, beside the kernel's own; modprobe knows it, parameters reach it."""
    chosen = kernel(spec)
    lines = [name for name in ("virtio_pci", "virtio_console") if available(chosen, name)]
    image = build_guest("guest", chosen, [*lines, str(HELLO)], Store(), tell_nobody)
    assert image.modules[-1] == "hello"
    assert image.built["hello"]["compiler"].startswith("gcc")
    async with booted(replace(parts, kernel=chosen.image, image=image.path)) as machine:
        line = await machine.guest.wait_for_line("hello nobody")
        assert line.endswith(r"from ./hello.c line 10")
        await machine.guest.succeed("modprobe -r hello")
        await machine.guest.succeed("modprobe hello whom=everybody")
        await machine.guest.wait_for_line("hello everybody")
        assert "vermagic" in await machine.guest.succeed("modinfo hello")
        assert machine.guest.kernel_log.splats == []


def test_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was built is found again without compiler, headers or network."""
    chosen = kernel(CLOUD)
    first = build_modules(HELLO, chosen, Store(), tell_nobody)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PASSTHRU_DEBIAN_MIRROR", "http://127.0.0.1:9")
    again = build_modules(HELLO, chosen, Store(), tell_nobody)
    assert again == first
    told = modinfo(built_files(again)[0].read_bytes())
    assert told["vermagic"][0].startswith(f"{chosen.release} SMP ")
    assert told["parm"] == ["whom:who is greeted"]


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize("spec", [CLOUD, NEWER])
def test_the_same_bytes_wherever_it_is_built(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Debian's compiler, in two places, one of them such as make cannot live with; whatever the environment."""
    chosen = kernel(spec)
    made = []
    for place in ("one", "the second one: with blanks"):
        store = fresh_store(tmp_path / place)
        entry = build_modules(HELLO, chosen, store, tell_nobody)
        assert re.fullmatch(r"gcc-12 12\.2\S* of Debian bookworm", entry.facts["compiler"])
        made.append(built_files(entry)[0].read_bytes())
        assert list((store.root / "scratch").iterdir()) == []
        monkeypatch.setenv("MAKEFLAGS", "n")
        monkeypatch.setenv("KCFLAGS", "-DMODULE_BROKEN -include /nothing")
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]


def test_a_source_with_a_mistake_in_it(tmp_path: Path) -> None:
    """The sentence names the file and the line that a person wrote, and where the whole log is."""
    home = tmp_path / "hello"
    shutil.copytree(HELLO, home)
    source = (home / "hello.c").read_text()
    (home / "hello.c").write_text(source.replace("return 0;", "return 0"))
    line = 1 + source.splitlines().index("\treturn 0;")
    store = fresh_store(tmp_path / "cache")
    with pytest.raises(Unusable) as error:
        build_modules(home, kernel(CLOUD), store, tell_nobody)
    sentence = str(error.value)
    assert f"{home}/hello.c:{line}: expected ';'" in sentence
    log = Path(sentence.rpartition("the whole log is ")[2])
    assert f"{home}/hello.c:{line}:" in log.read_text()
    assert list((store.root / "scratch").iterdir()) == []
    assert not (store.root / "entries/modules").exists()


def test_a_symbol_that_the_kernel_lacks(tmp_path: Path) -> None:
    """What modpost says."""
    home = tmp_path / "hello"
    shutil.copytree(HELLO, home)
    source = (home / "hello.c").read_text()
    (home / "hello.c").write_text(source.replace("return 0;", "extern int no_such(void); return no_such();"))
    with pytest.raises(Unusable, match=r'"no_such" \[hello\.ko\] undefined'):
        build_modules(home, kernel(CLOUD), fresh_store(tmp_path / "cache"), tell_nobody)


def test_a_kbuild_that_makes_something_else(tmp_path: Path) -> None:
    """A recipe's promise is kept, or the build has failed."""
    home = tmp_path / "hello"
    shutil.copytree(HELLO, home)
    (home / "recipe.toml").write_text('modules = ["goodbye"]\n')
    with pytest.raises(Unusable, match=r"made no module goodbye \(but hello\)"):
        build_modules(home, kernel(CLOUD), fresh_store(tmp_path / "cache"), tell_nobody)


def test_a_kernel_build_tree(tmp_path: Path) -> None:
    """Built against where it is; the tree stays as it was. Its release is what the module must be for."""
    debian = kernel(CLOUD)
    tree = headers.choose(debian, Store(), tell_nobody).lay_out(tmp_path / "work")  # as good as a tree made by hand
    boot = tree / "arch"
    machine = boot.readlink() / "x86"
    boot.unlink()
    (boot / "x86/boot").mkdir(parents=True)
    for path in machine.iterdir():
        if path.name != "boot":
            (boot / "x86" / path.name).symlink_to(path)
    (boot / "x86/boot/bzImage").symlink_to(debian.image)
    before = sorted(tree.rglob("*"))
    found = resolve(str(tree), Store(), tell_nobody)
    assert found.pin is None
    mine = replace(found, release=debian.release)  # Debian's headers have a KERNELRELEASE of their own
    entry = build_modules(HELLO, mine, fresh_store(tmp_path / "cache"), tell_nobody)
    assert entry.facts["headers"] == f"the build tree {tree}"
    assert modinfo(built_files(entry)[0].read_bytes())["vermagic"][0].startswith(f"{debian.release} ")
    assert sorted(tree.rglob("*")) == before
    with pytest.raises(Unusable, match=r"was built for .* not for the kernel 6\.1\.0-other"):
        build_modules(HELLO, replace(mine, release="6.1.0-other"), fresh_store(tmp_path / "other"), tell_nobody)


@pytest.mark.parametrize(("name", "spec"), [("mtty", "debian:bookworm"), ("mdpy", "debian:bookworm"), ("mtty", NEWER)])
def test_the_kernel_s_own_samples(name: str, spec: str) -> None:
    """Made of the source of the very version; what they depend on is the kernel's."""
    chosen = kernel(spec)
    entry = build_modules(name, chosen, Store(), tell_nobody)
    told = modinfo(built_files(entry)[0].read_bytes())
    assert told["name"] == [name]
    assert {"mdev", "vfio"} <= set(told["depends"][0].split(","))
    assert told["vermagic"][0].split()[0] == chosen.release
