# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of arm64: an Image, packed or not, and the tree that it is built in."""

from __future__ import annotations

import gzip
import platform
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import tell_nobody
from passthru.image.arch import ARCHES, machine_arch, of_machine
from passthru.image.direct import direct_image
from passthru.image.kernel import resolve
from tests.unit.image.made import RELEASE, bzimage

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.store import Store

CONFIG = b"CONFIG_PCI=y\nCONFIG_ARM_AMBA=y\n"


def image(release: str = RELEASE, config: bytes = CONFIG) -> bytes:
    """The header of an Image (Documentation/arm64/booting.rst), its banner, and its configuration."""
    inside = b"IKCFG_ST" + gzip.compress(config) + b"IKCFG_ED"
    return bytes(0x38) + b"ARM\x64" + bytes(64) + f"Linux version {release} (somebody@somewhere)".encode() + inside


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["Image", "Image.gz"])
def test_an_image_tells_its_release_and_configuration(tmp_path: Path, store: Store, pack: object) -> None:
    """The release finds its modules; QEMU is given it as it is."""
    assert callable(pack)
    (tmp_path / "boot").mkdir()
    path = tmp_path / "boot/Image"
    path.write_bytes(pack(image()))
    modules = tmp_path / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.builtin").write_text("")
    kernel = resolve(str(path), store, tell_nobody, ["ARM_AMBA"], arch="arm64")
    assert (kernel.release, kernel.arch, kernel.modules) == (RELEASE, "arm64", modules)
    assert kernel.config == {"PCI": "y", "ARM_AMBA": "y"}
    assert direct_image(kernel, store, tell_nobody) == path


def test_a_build_tree(tmp_path: Path, store: Store) -> None:
    """The image that need not be unpacked is the better one."""
    (tmp_path / "arch/arm64/boot").mkdir(parents=True)
    (tmp_path / ".config").write_bytes(CONFIG)
    with pytest.raises(Unusable, match="holds no arch/arm64/boot/Image; build it"):
        resolve(str(tmp_path), store, tell_nobody, arch="arm64")
    for name in ("Image.gz", "Image"):
        (tmp_path / "arch/arm64/boot" / name).write_bytes(image() if name == "Image" else gzip.compress(image()))
        kernel = resolve(str(tmp_path), store, tell_nobody, arch="arm64")
        assert (kernel.image.name, kernel.release) == (name, RELEASE)


def test_a_directory_of_something_else(tmp_path: Path, store: Store) -> None:
    """What to name in its place is of the architecture."""
    with pytest.raises(Unusable, match=r"no kernel build tree.*name a built tree or its Image"):
        resolve(str(tmp_path), store, tell_nobody, arch="arm64")


@pytest.mark.parametrize("content", [b"", bytes(4096), b"\x7fELF" + bytes(4096)])
def test_what_is_no_kernel(tmp_path: Path, store: Store, content: bytes) -> None:
    """Nor is a kernel of one architecture one of the other."""
    path = tmp_path / "something"
    path.write_bytes(content)
    with pytest.raises(Unusable, match="something is no arm64 kernel: it does not begin as an Image does"):
        resolve(str(path), store, tell_nobody, arch="arm64")
    path.write_bytes(image())
    with pytest.raises(Unusable, match="something is no amd64 kernel"):
        resolve(str(path), store, tell_nobody)
    path.write_bytes(b"MZ" + bzimage()[2:])
    with pytest.raises(Unusable, match="something is no arm64 kernel"):
        resolve(str(path), store, tell_nobody, arch="arm64")


def test_a_packed_image_that_is_damaged(tmp_path: Path, store: Store) -> None:
    """One sentence."""
    path = tmp_path / "Image.gz"
    path.write_bytes(gzip.compress(image())[:60])
    with pytest.raises(Unusable, match=r"Image.gz is damaged: it cannot be decompressed"):
        resolve(str(path), store, tell_nobody, arch="arm64")


def test_names_of_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Debian, the kernel and QEMU have."""
    assert {arch.name: (arch.machine, arch.linux, arch.triplet) for arch in ARCHES.values()} == {
        "amd64": ("x86_64", "x86", "x86_64-linux-gnu"),
        "arm64": ("aarch64", "arm64", "aarch64-linux-gnu"),
    }
    assert of_machine("aarch64") == ARCHES["arm64"]
    assert of_machine("sparc64") is None
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert machine_arch() == "arm64"
    monkeypatch.setattr(platform, "machine", lambda: "sparc64")
    assert machine_arch() == "sparc64"
