# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of a person's own: images and build trees, and what they say when they are none."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.events import Note, tell_nobody
from passthru.image.kernel import resolve
from tests.unit.image.made import RELEASE, bzimage

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.store import Store
    from tests.unit.image.conftest import Told

CONFIG = b'# a comment\nCONFIG_PCI=y\nCONFIG_VIRTIO_PCI=m\n# CONFIG_VFIO is not set\nCONFIG_LOCALVERSION="-made"\n'


@pytest.fixture
def build_tree(tmp_path: Path) -> Path:
    """What `make bzImage modules` leaves of use."""
    tree = tmp_path / "linux"
    (tree / "arch/x86/boot").mkdir(parents=True)
    (tree / "arch/x86/boot/bzImage").write_bytes(bzimage())
    (tree / "include/config").mkdir(parents=True)
    (tree / "include/config/kernel.release").write_text(f"{RELEASE}\n")
    (tree / ".config").write_bytes(CONFIG)
    return tree


def test_a_build_tree(build_tree: Path, store: Store) -> None:
    """Image, release, configuration and modules are where the kernel's build puts them."""
    kernel = resolve(str(build_tree), store, tell_nobody, ["CONFIG_PCI", "VIRTIO_PCI", "PCI=y"])
    assert (kernel.release, kernel.modules, kernel.pin) == (RELEASE, build_tree, None)
    assert kernel.image == build_tree / "arch/x86/boot/bzImage"
    assert kernel.identity == hashlib.sha256(bzimage()).hexdigest()
    assert [kernel.has(option) for option in ("PCI", "VFIO", "VIRTIO_PCI=y")] == [True, False, False]


def test_all_missing_options_are_named(build_tree: Path, store: Store) -> None:
    """Which option, which kernel, what to do."""
    with pytest.raises(
        Unusable, match=r"lacks CONFIG_VFIO, CONFIG_HVC_DRIVER, CONFIG_VIRTIO_PCI=y, which.*--kernel"
    ) as error:
        resolve(str(build_tree), store, tell_nobody, ["PCI", "VFIO", "CONFIG_HVC_DRIVER", "VIRTIO_PCI=y"])
    assert str(build_tree) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_build_tree_that_was_not_built(build_tree: Path, store: Store) -> None:
    """A source tree is told from a directory of something else."""
    (build_tree / "arch/x86/boot/bzImage").unlink()
    with pytest.raises(Unusable, match="holds no arch/x86/boot/bzImage; build it"):
        resolve(str(build_tree), store, tell_nobody)
    with pytest.raises(Unusable, match="is a directory but no kernel build tree"):
        resolve(str(build_tree / "include"), store, tell_nobody)


def xz(data: bytes) -> bytes:
    """As the kernel's build packs it: the unpacked size is appended."""
    return lzma.compress(data) + len(data).to_bytes(4, "little")


@pytest.mark.parametrize("pack", [gzip.compress, xz, bytes])
def test_an_image_that_carries_its_configuration(tmp_path: Path, store: Store, pack: object) -> None:
    """CONFIG_IKCONFIG, within a compressed kernel or a bare one."""
    assert callable(pack)
    inside = b"code" * 99 + b"IKCFG_ST" + gzip.compress(CONFIG) + b"IKCFG_ED" + b"code" * 99
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage("6.9.0-own", pack(inside)))
    kernel = resolve(str(path), store, tell_nobody, ["PCI"])
    assert (kernel.release, kernel.modules) == ("6.9.0-own", None)
    assert kernel.config == {"PCI": "y", "VIRTIO_PCI": "m", "LOCALVERSION": '"-made"'}
    with pytest.raises(Unusable, match="lacks CONFIG_VFIO"):
        resolve(str(path), store, tell_nobody, ["VFIO"])


@pytest.mark.parametrize(
    "payload", [b"", b"\x28\xb5\x2f\xfd damaged", b"\x1f\x8b damaged", lzma.compress(b"no config")]
)
def test_an_image_that_tells_no_configuration(tmp_path: Path, store: Store, told: Told, payload: bytes) -> None:
    """It is used as it is, and that its options are unknown is told."""
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage(payload=payload))
    kernel = resolve(str(path), store, told, ["PCI"])
    assert kernel.config is None
    assert kernel.has("PCI") is None
    assert any(isinstance(event, Note) and "does not tell its configuration" in event.text for event in told)


def test_an_installed_image_finds_its_modules_and_configuration(tmp_path: Path, store: Store) -> None:
    """boot/vmlinuz-RELEASE beside boot/config-RELEASE and lib/modules/RELEASE, as on any machine."""
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinuz-{RELEASE}").write_bytes(bzimage())
    (tmp_path / f"boot/config-{RELEASE}").write_bytes(CONFIG)
    modules = tmp_path / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.builtin").write_text("")
    kernel = resolve(str(tmp_path / f"boot/vmlinuz-{RELEASE}"), store, tell_nobody, ["PCI"])
    assert (kernel.modules, kernel.has("PCI")) == (modules, True)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", bytes(4096), b"\x7fELF" + bytes(4096), bzimage()[:0x203]])
def test_what_is_no_kernel(tmp_path: Path, store: Store, content: bytes) -> None:
    """One sentence, whatever the file is."""
    path = tmp_path / "something"
    path.write_bytes(content)
    with pytest.raises(Unusable, match="something is no amd64 kernel"):
        resolve(str(path), store, tell_nobody)


def test_a_kernel_that_is_missing(tmp_path: Path, store: Store) -> None:
    """The path is named."""
    with pytest.raises(Unusable, match=r"nothing cannot be read: No such file"):
        resolve(str(tmp_path / "nothing"), store, tell_nobody)


@pytest.mark.parametrize("spec", ["debian:bookworm/tiny", "ubuntu:noble", "debian:", "debian:../x", "debian:book worm"])
def test_a_spec_that_cannot_be_meant(store: Store, spec: str) -> None:
    """The user wrote something wrong, and nothing is asked of the network."""
    with pytest.raises(UserMistake):
        resolve(spec, store, tell_nobody)
