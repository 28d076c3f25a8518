# SPDX-License-Identifier: GPL-2.0-or-later
"""The description of the own kernel."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.image.own.recipe import config_lines, load
from passthru.resources import directory

if TYPE_CHECKING:
    from pathlib import Path

ABILITIES = {
    "IOMMUFD": "y",
    "VFIO_DEVICE_CDEV": "y",
    "VFIO_GROUP": "y",
    "VFIO_CONTAINER": "y",
    "VFIO_NOIOMMU": "y",
    "VFIO_PLATFORM": "y",
    "VFIO_DEBUGFS": "y",
    "SAMPLE_VFIO_MDEV_MTTY": "m",
    "SAMPLE_VFIO_MDEV_MDPY": "m",
    "KVM_AMD": "m",
    "KVM_INTEL": "m",
    "KVM_IOAPIC": "y",
    "INTEL_IOMMU": "y",
    "AMD_IOMMU": "y",
    "VIRTIO_IOMMU": "y",
    "IRQ_REMAP": "y",
    "IGB": "m",
    "IGBVF": "m",
    "SERIAL_8250_PCI": "y",
    "PVH": "y",
    "EROFS_FS": "y",
    "SQUASHFS": "y",
    "OVERLAY_FS": "y",
    "MODULES": "y",
    "IKCONFIG": "y",
}
"""What rigs and guests count on; that the kernel then has it is checked by each build."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the description that is shipped."""
    shutil.copytree(directory("images") / "kernel", tmp_path / "kernel")
    return tmp_path / "kernel"


def test_what_is_shipped() -> None:
    """It describes what this project counts on."""
    recipe = load("amd64")
    assert {name: recipe.config.get(name) for name in ABILITIES} == ABILITIES
    assert f"gcc-{recipe.gcc}" in recipe.tools
    assert 'CONFIG_LOCALVERSION="-passthru"' in config_lines(recipe.config)


def test_another_architecture(home: Path) -> None:
    """The sentence says which there are, and what else to name."""
    with pytest.raises(Unusable, match=r"no own kernel for arm64: .*kernel describes amd64; name debian:SUITE"):
        load("arm64", home)


def test_what_would_be_built_is_its_identity(home: Path) -> None:
    """Comments, and what is only expected of a build, change nothing; an option does."""
    before = load("amd64", home).identity
    toml, config = home / "amd64.toml", home / "amd64.config"
    toml.write_text(toml.read_text().replace("processor_seconds = ", "processor_seconds = 9"))
    config.write_text(f"# more\n{config.read_text()}")
    assert load("amd64", home).identity == before
    config.write_text(f"{config.read_text()}CONFIG_XZ_DEC=y\n")
    assert load("amd64", home).identity != before


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ("[source]", "[src]", r"amd64\.toml: \[source\] is not a table of suite, package"),
        ('suite = "bookworm"', "suite = 12", r"amd64\.toml: tools\.suite is not a string"),
        ("gcc = 12", 'gcc = "12"', r"amd64\.toml: tools\.gcc is not a number"),
        ("except = [", "except = [1, ", r"amd64\.toml: unpack\.except is not a list of strings"),
        ("gcc = 12", "gcc == 12", r"description of the own kernel in .* cannot be read"),
    ],
)
def test_a_description_that_is_wrong(home: Path, wrong: str, right: str, sentence: str) -> None:
    """File and key are named."""
    path = home / "amd64.toml"
    assert wrong in path.read_text()
    path.write_text(path.read_text().replace(wrong, right, 1))
    with pytest.raises(UserMistake, match=sentence):
        load("amd64", home)


def test_options_that_are_wrong(home: Path) -> None:
    """File and line are named."""
    (home / "amd64.config").write_text("CONFIG_PCI=y\nPCI_MSI=y\n")
    with pytest.raises(UserMistake, match=r"amd64\.config:2: 'PCI_MSI=y' sets no option"):
        load("amd64", home)
    (home / "amd64.config").unlink()
    with pytest.raises(UserMistake, match=r"cannot be read: .*amd64\.config"):
        load("amd64", home)
