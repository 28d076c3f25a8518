# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers, build programs and sources out of packages: made ones, shaped as Debian's, fetched by the real apt."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.events import Progress, tell_nobody
from passthru.image.kbuild import headers, sources, toolchain
from passthru.image.kbuild.recipe import load
from tests.unit.image.debian_mirror import Key, Mirror, Package
from tests.unit.image.kbuild.made import GCC, recipe_directory
from tests.unit.image.made import RELEASE, kernel_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from tests.unit.image.conftest import Told

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb", "gpg")),
    reason="needs apt-get, dpkg-deb and gpg, to serve a signed mirror",
)

VERSION = "6.9.1-1"
NOISE = random.Random(1).randbytes(50_000).hex()
COMMON = "linux-headers-6.9.0-common"
FLAVOUR = Package(
    f"linux-headers-{RELEASE}",
    VERSION,
    depends=f"{COMMON} (= {VERSION}), linux-kbuild-6.9 (>= {VERSION}), gcc-12",
    files={
        f"usr/src/linux-headers-{RELEASE}/Makefile": f"include /usr/src/{COMMON}/Makefile\n",
        f"usr/src/linux-headers-{RELEASE}/.config": "CONFIG_MODULES=y\n",
        f"usr/src/linux-headers-{RELEASE}/include/generated/autoconf.h": "",
        f"usr/src/linux-headers-{RELEASE}/vmlinux": "BTF",
        f"usr/src/linux-headers-{RELEASE}/scripts": "-> ../../lib/linux-kbuild-6.9/scripts",
        f"usr/src/linux-headers-{RELEASE}/tools": "-> ../../lib/linux-kbuild-6.9/tools",
    },
)
SHARED = Package(
    COMMON,
    VERSION,
    files={
        f"usr/src/{COMMON}/Makefile": "# the kernel's\n",
        f"usr/src/{COMMON}/include/linux/module.h": "",
        f"usr/src/{COMMON}/scripts": "-> ../../lib/linux-kbuild-6.9/scripts",
    },
)
KBUILD = Package(
    "linux-kbuild-6.9",
    VERSION,
    depends="libc6",
    files={
        "usr/lib/linux-kbuild-6.9/scripts/Makefile.build": "# rules\n",
        "usr/lib/linux-kbuild-6.9/scripts/mod/modpost": b"\x7fELF...",
        "usr/lib/linux-kbuild-6.9/tools/objtool/objtool": b"\x7fELF...",
    },
)
LIBC = Package("libc6", files={"usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": b"\x7fELF..."})
OTHERS = [Package("gcc-12"), Package("make"), Package("binutils")]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    """The key that our Debian signs with."""
    made = Key(tmp_path_factory.mktemp("k") / "gpg")
    yield made
    made.stop()


@pytest.fixture
def mirror(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror with sid, and this process told to use it."""
    made = Mirror(tmp_path / "mirror", key)
    made.publish("sid", [FLAVOUR, SHARED, KBUILD, LIBC, *OTHERS])
    monkeypatch.setenv("PASSTHRU_DEBIAN_MIRROR", made.url)
    monkeypatch.setenv("PASSTHRU_DEBIAN_KEYRING", str(key.keyring))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.stop()


@pytest.fixture
def kernel() -> Kernel:
    """A kernel of that mirror's sid."""
    packages = [f"linux-image-amd64={VERSION}", f"linux-image-{RELEASE}={VERSION}"]
    made = kernel_with(None, config=GCC)
    return replace(made, source="debian:sid/cloud", pin={"key": {"arch": "amd64", "packages": packages}})


def archive(**files: str) -> bytes:
    """A source archive as linux-source-* holds it; _ in a name stands for its dots, __ for its slashes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo("linux-source-6.9/" + name.replace("__", "/").replace("_", "."))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def source_package(data: bytes) -> Package:
    """linux-source-6.9 of the kernel's version."""
    return Package("linux-source-6.9", VERSION, files={"usr/src/linux-source-6.9.tar.xz": data})


@pytest.mark.usefixtures("mirror")
def test_headers_are_laid_out_as_if_installed(tmp_path: Path, kernel: Kernel, store: Store) -> None:
    """Makefiles find each other where the tree is, programs are scripts that start them, and no compiler came."""
    chosen = headers.choose(kernel, store, tell_nobody)
    assert f"linux-headers-{RELEASE} {VERSION} and linux-kbuild-6.9 {VERSION} of Debian sid" == chosen.told
    tree = chosen.lay_out(tmp_path / "work")
    assert tree == tmp_path / f"work/usr/src/linux-headers-{RELEASE}"
    assert (tree / "Makefile").read_text() == f"include {tmp_path}/work/usr/src/{COMMON}/Makefile\n"
    assert (tree / "include/generated/autoconf.h").is_file()
    assert (tree.parent / COMMON / "include/linux/module.h").is_file()
    assert not (tree / "vmlinux").exists()
    for scripts in (tree / "scripts", tree.parent / COMMON / "scripts"):
        assert scripts.resolve() == tmp_path / "work/usr/lib/linux-kbuild-6.9/scripts"
    assert (tree / "scripts/Makefile.build").read_text() == "# rules\n"
    for program in ("scripts/mod/modpost", "tools/objtool/objtool"):
        text = (tree / program).read_text()
        assert text.startswith("#!/bin/sh\nexec ")
        assert "ld-linux-x86-64.so.2" in text
        assert os.access(tree / program, os.X_OK)
    manifests = [json.loads(path.read_text()) for path in store.root.glob("entries/debian/*/manifest.json")]
    assert {item.partition("=")[0] for manifest in manifests for item in manifest["key"]["packages"]} == {
        f"linux-headers-{RELEASE}",
        COMMON,
        "linux-kbuild-6.9",
        "libc6",
    }


def test_headers_that_the_suite_has_no_more(mirror: Mirror, kernel: Kernel, store: Store) -> None:
    """sid keeps one version; the kernel in the cache may be an older one."""
    mirror.publish("sid", [replace(FLAVOUR, version="6.9.2-1", depends=""), KBUILD, LIBC])
    with pytest.raises(MissingCapability, match=rf"no linux-headers-{RELEASE} {VERSION} any more.*fetch --update") as e:
        headers.choose(kernel, store, tell_nobody)
    assert e.value.capability == "kernel headers"


@pytest.mark.usefixtures("mirror")
def test_a_compiler_that_the_suite_lacks(kernel: Kernel, store: Store) -> None:
    """A missing capability, as for one that nobody has."""
    with pytest.raises(MissingCapability, match="gcc 16, which neither this machine nor Debian sid has"):
        toolchain.choose(replace(kernel, config={**GCC, "GCC_VERSION": "160200"}), store, tell_nobody)


def test_the_wanted_files_alone_are_unpacked(
    mirror: Mirror, tmp_path: Path, kernel: Kernel, store: Store, told: Told
) -> None:
    """With progress; what was unpacked is there the next time without the archive."""
    wanted = {"samples__one__one_c": "int one;", "samples__one__sub__deep_h": "d"}
    data = archive(kernel__fork_c="x", **wanted, samples__one__two_c="", samples__one__sub__sub__one_h="")
    mirror.publish("sid", [source_package(data)])
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['o*.c', 'one.c', 'sub/*']\n"))
    found = sources.of_kernel(recipe, kernel, store, told)
    assert found == {"one.c": b"int one;", "sub/deep.h": b"d"}
    work = [event.work for event in told if isinstance(event, Progress)]
    assert "unpacking the source of one from linux-source-6.9" in work
    requests = len(mirror.requests)
    assert sources.of_kernel(recipe, kernel, store, tell_nobody) == found
    assert len(mirror.requests) == requests


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (archive(samples__one__other_c=""), UserMistake, r"takes samples/one/one\.c, which .*does not hold"),
        (archive(samples__one__one_c=NOISE)[:20_000], Unusable, "is damaged"),
        (b"no archive", Unusable, "is damaged"),
    ],
)
def test_a_source_that_cannot_be_used(
    mirror: Mirror,
    tmp_path: Path,
    kernel: Kernel,
    store: Store,
    data: bytes,
    error: type[Exception],
    said: str,
) -> None:
    """One sentence, and nothing of it is kept."""
    mirror.publish("sid", [source_package(data)])
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['one.c', 'o*.c']\n"))
    with pytest.raises(error, match=said):
        sources.of_kernel(recipe, kernel, store, tell_nobody)
    assert not (store.root / "entries/kernel-source").exists()


def test_a_source_that_the_suite_has_no_more(mirror: Mirror, tmp_path: Path, kernel: Kernel, store: Store) -> None:
    """As with headers."""
    mirror.publish("sid", [replace(source_package(b""), version="6.9.2-1")])
    recipe = load(recipe_directory(tmp_path / "one", "[linux]\nfrom='samples/one'\nfiles=['one.c']\n"))
    with pytest.raises(MissingCapability, match=f"no linux-source-6.9 {VERSION} any more"):
        sources.of_kernel(recipe, kernel, store, tell_nobody)
