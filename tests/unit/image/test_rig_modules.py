# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules of the user's own for a rig, and what is said of those that cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.events import tell_nobody
from passthru.image.rig_modules import wanted
from tests.unit.image.made import RELEASE, kernel_with, module

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store

MAGIC = f"{RELEASE} SMP mod_unload "


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel with all that a rig needs; its checksum and IOMMU drivers are modules."""
    root = tmp_path / "modules"
    (root / "kernel").mkdir(parents=True)
    names = ("virtio_pci", "virtio_blk", "virtio_console", "erofs", "overlay", "crc32c_generic", "virtio_iommu", "vfio")
    for name in names:
        (root / f"kernel/{name}.ko").write_bytes(module(name))
    return kernel_with(root, config={"MODULES": "y"})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with two modules of the user's."""
    home = tmp_path / "own"
    home.mkdir()
    (home / "upper.ko").write_bytes(module("upper", vermagic=MAGIC, depends="lower-one"))
    (home / "lower-one.ko").write_bytes(module("lower_one", vermagic=MAGIC, depends="vfio"))
    return home


def test_the_order_for_the_drives(kernel: Kernel, store: Store) -> None:
    """What they wait for, or ask for by another name, comes before."""
    found = [each.name for each in wanted(kernel, [], store, tell_nobody).load_first(tell_nobody)]
    assert found.index("virtio_pci") < found.index("virtio_iommu") < found.index("virtio_blk")
    assert found.index("crc32c_generic") < found.index("erofs")
    assert "vfio" not in found


def test_modules_that_are_built_already(kernel: Kernel, own: Path, store: Store) -> None:
    """All in a directory, with what they need of the kernel's."""
    found = wanted(kernel, [str(own)], store, tell_nobody)
    assert set(found.asked) == {"upper", "lower_one"}
    assert found.missing == {}
    loaded = [each.name for each in found.load_all(tell_nobody)]
    assert loaded.index("vfio") < loaded.index("lower_one") < loaded.index("upper")


def test_modules_for_another_kernel(kernel: Kernel, own: Path, store: Store) -> None:
    """File and both releases are named."""
    (own / "upper.ko").write_bytes(module("upper", vermagic="6.0.1 SMP"))
    with pytest.raises(Unusable, match=rf"upper.ko was built for the kernel 6.0.1, and the rig's is {RELEASE}"):
        wanted(kernel, [str(own)], store, tell_nobody)
    (own / "upper.ko").write_bytes(b"nonsense")
    with pytest.raises(Unusable, match=r"upper.ko is no kernel module"):
        wanted(kernel, [str(own)], store, tell_nobody)


def test_directories_with_nothing_in_them(kernel: Kernel, tmp_path: Path, store: Store) -> None:
    """What should be there is told."""
    with pytest.raises(UserMistake, match="nosuch, which is no directory"):
        wanted(kernel, [f"{tmp_path}/nosuch"], store, tell_nobody)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserMistake, match=r"empty, which holds neither \.ko files nor a Kbuild"):
        wanted(kernel, [f"{tmp_path}/empty"], store, tell_nobody)


def test_a_recipe_that_this_kernel_cannot_have(kernel: Kernel, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missing, with the reason; the others are there all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise MissingCapability("gcc 99", "there is no gcc 99")

    monkeypatch.setattr("passthru.image.kbuild.provide.build_modules", refuse)
    found = wanted(kernel, ["mtty", "vfio"], store, tell_nobody)
    assert found.asked == ("vfio",)
    assert str(found.missing["mtty"]) == "there is no gcc 99"


def test_a_name_that_nobody_knows(kernel: Kernel, store: Store) -> None:
    """It is said when the modules are read."""
    with pytest.raises(Unusable, match="has no module nosuch"):
        wanted(kernel, ["nosuch"], store, tell_nobody).load_all(tell_nobody)
