# SPDX-License-Identifier: GPL-2.0-or-later
"""Which modules a guest gets, and in which order."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import Note, tell_nobody
from passthru.image.modules import Module, closure
from tests.unit.image.made import kernel_with, module

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.image.conftest import Told


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Modules as below /lib/modules/RELEASE, compressed in all ways that are read without a tool."""
    root = tmp_path / "modules"
    files = {
        "kernel/drivers/virtio/virtio.ko": module("virtio"),
        "kernel/drivers/virtio/virtio_ring.ko.gz": gzip.compress(module("virtio_ring", depends="virtio")),
        "kernel/drivers/virtio/virtio_pci.ko.xz": lzma.compress(
            module("virtio_pci", depends="virtio,virtio_ring", alias=["pci:v00001AF4d*", "pci:v00001AF5d*"])
        ),
        "kernel/drivers/char/virtio-rng.ko": module("virtio_rng", depends="virtio"),
        "kernel/soft.ko": module("soft", softdep=["pre: virtio-rng absent post: after"]),
        "kernel/after.ko": module("after"),
        "kernel/loose.ko": module("loose", depends="gone"),
        "kernel/a.ko": module("a", depends="b"),
        "kernel/b.ko": module("b", depends="a"),
        "kernel/broken.ko": b"\x7fELF nonsense",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "modules.builtin").write_text("kernel/drivers/tty/serial/8250/8250_pci.ko\nkernel/lib/crc-ccitt.ko\n")
    return root


def names(found: list[Module]) -> list[str]:
    """In their order."""
    return [module.name for module in found]


def test_dependencies_come_first(installed: Path) -> None:
    """And each of them once."""
    found = closure(kernel_with(installed), ["virtio_pci", "virtio_rng"], tell_nobody)
    assert names(found) == ["virtio", "virtio_ring", "virtio_pci", "virtio_rng"]


def test_what_goes_into_the_image_is_decompressed(installed: Path) -> None:
    """The guest's tools need not know a compression."""
    found = {module.name: module for module in closure(kernel_with(installed), ["virtio_pci"], tell_nobody)}
    assert found["virtio_pci"].path == "kernel/drivers/virtio/virtio_pci.ko"
    assert found["virtio_pci"].data == module(
        "virtio_pci", depends="virtio,virtio_ring", alias=["pci:v00001AF4d*", "pci:v00001AF5d*"]
    )
    assert found["virtio_ring"].data == module("virtio_ring", depends="virtio")
    assert found["virtio_pci"].aliases == ("pci:v00001AF4d*", "pci:v00001AF5d*")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_zstd_by_its_tool(installed: Path) -> None:
    """What Python 3.11 cannot read, the tool of this machine reads."""
    plain = installed / "kernel/plain.ko"
    plain.write_bytes(module("plain"))
    subprocess.run(["zstd", "-q", "--rm", str(plain)], check=True, timeout=30)
    assert closure(kernel_with(installed), ["plain"], tell_nobody)[0].data == module("plain")


def test_zstd_without_its_tool(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the tool to install."""
    (installed / "kernel/plain.ko.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unusable, match="install the package zstd"):
        closure(kernel_with(installed), ["plain"], tell_nobody)


@pytest.mark.parametrize("name", ["virtio-rng", "virtio_rng"])
def test_dashes_and_underscores_are_one(installed: Path, name: str) -> None:
    """As for modprobe."""
    assert names(closure(kernel_with(installed), [name], tell_nobody)) == ["virtio", "virtio_rng"]


def test_what_is_built_in_needs_no_module(installed: Path) -> None:
    """Nor does its absence hurt."""
    assert closure(kernel_with(installed), ["8250_pci", "crc_ccitt"], tell_nobody) == []


def test_soft_dependencies_are_loaded_where_they_exist(installed: Path) -> None:
    """Before and after, as their author said."""
    assert names(closure(kernel_with(installed), ["soft"], tell_nobody)) == ["virtio", "virtio_rng", "soft", "after"]


def test_a_circle_ends(installed: Path) -> None:
    """depmod would refuse it; nobody waits forever."""
    assert sorted(names(closure(kernel_with(installed), ["a"], tell_nobody))) == ["a", "b"]


def test_a_module_that_the_kernel_lacks(installed: Path) -> None:
    """The sentence names the module, the kernel and who needs it."""
    with pytest.raises(
        Unusable, match=r"the kernel made \(6.9.0-made\) has no module mtty.*the scenario needs it.*--kernel"
    ):
        closure(kernel_with(installed), ["mtty"], tell_nobody)
    with pytest.raises(Unusable, match=r"has no module gone.*the module loose needs it"):
        closure(kernel_with(installed), ["loose"], tell_nobody)


def test_a_broken_module(installed: Path) -> None:
    """The file is named."""
    with pytest.raises(Unusable, match=r"broken\.ko cannot be used"):
        closure(kernel_with(installed), ["broken"], tell_nobody)


def test_a_damaged_compression(installed: Path) -> None:
    """The file is named here too."""
    (installed / "kernel/bad.ko.xz").write_bytes(lzma.compress(module("bad"))[:-20] + bytes(20))
    with pytest.raises(Unusable, match=r"bad\.ko\.xz is damaged"):
        closure(kernel_with(installed), ["bad"], tell_nobody)


def test_a_kernel_without_modules(told: Told) -> None:
    """A lone bzImage: what it has built in cannot be known, and that is told."""
    assert closure(kernel_with(None), ["virtio_pci"], told) == []
    (note,) = told
    assert isinstance(note, Note)
    assert "virtio_pci is taken to be built in" in note.text


@pytest.mark.parametrize("ending", [".o", ".ko"])
def test_a_build_tree_is_read_by_its_modules_order(tmp_path: Path, ending: str) -> None:
    """Newer trees list objects, older ones modules; what is stale in the tree is not listed."""
    tree = tmp_path / "linux"
    for name in ("drivers/char/virtio_console", "drivers/virtio/virtio", "stale/old"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        depends = {"depends": "virtio"} if name.endswith("console") else {}
        (tree / f"{name}.ko").write_bytes(module(name.rpartition("/")[2], **depends))
    (tree / "modules.order").write_text(f"drivers/virtio/virtio{ending}\ndrivers/char/virtio_console{ending}\n")
    (tree / "modules.builtin").write_text("kernel/drivers/tty/serial/8250/8250.ko\n")
    found = closure(kernel_with(tree), ["virtio_console", "8250"], tell_nobody)
    assert [item.path for item in found] == ["kernel/drivers/virtio/virtio.ko", "kernel/drivers/char/virtio_console.ko"]
    with pytest.raises(Unusable, match="no module old"):
        closure(kernel_with(tree), ["old"], tell_nobody)


def test_a_build_tree_whose_modules_were_not_built(tmp_path: Path) -> None:
    """modules.order can be older than the modules."""
    (tmp_path / "modules.order").write_text("drivers/virtio/virtio.o\n")
    with pytest.raises(Unusable, match=r"virtio\.ko cannot be used.*listed in modules\.order"):
        closure(kernel_with(tmp_path), ["virtio"], tell_nobody)
