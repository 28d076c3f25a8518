# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of a scenario's modules are built. The builds themselves are proven with real kernels, in tests/e2e/image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.events import tell_nobody
from passthru.image.kbuild.provide import provide
from passthru.image.modules import any_module, closure, lacking
from tests.unit.image.kbuild.made import recipe_directory, user_kernel
from tests.unit.image.made import kernel_with, module

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.store import Store


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """As below /lib/modules/RELEASE: one module, and one built in."""
    root = tmp_path / "modules"
    (root / "kernel").mkdir(parents=True)
    (root / "kernel/virtio-rng.ko").write_bytes(module("virtio_rng"))
    (root / "modules.builtin").write_text("kernel/drivers/mdpy.ko\n")
    return root


def test_what_the_kernel_has_is_never_built(modules: Path, store: Store) -> None:
    """As a module or built in, though there is a recipe of that name; what nobody has is left to who loads it."""
    found = provide(kernel_with(modules), ["virtio-rng", "mdpy", "nobodys"], store, tell_nobody)
    assert (found.names, found.built, found.entries) == (("virtio-rng", "mdpy", "nobodys"), {}, ())
    assert not store.root.exists()


def test_a_module_that_cannot_be_built(modules: Path, store: Store) -> None:
    """The reason passes through."""
    with pytest.raises(MissingCapability, match="CONFIG_VFIO_MDEV"):
        provide(kernel_with(modules, config={"MODULES": "y"}), ["mtty"], store, tell_nobody)


def test_a_bare_image_and_a_recipe_s_module(store: Store) -> None:
    """It cannot be told whether it has it built in, and it cannot be built."""
    with pytest.raises(MissingCapability) as error:
        provide(user_kernel(None, {"MODULES": "y", "VFIO_MDEV": "y"}), ["mtty"], store, tell_nobody)
    assert error.value.capability == "kernel headers"


def test_optional_modules(modules: Path, store: Store) -> None:
    """What cannot be had is told by name, with its reason; the rest is loaded."""
    kernel = kernel_with(modules, config={"MODULES": "y"})
    found = provide(kernel, ["virtio_rng"], store, tell_nobody, optional=["mdpy", "mtty", "nobodys"])
    assert found.names == ("virtio_rng", "mdpy")
    assert {name: why.capability for name, why in found.missing.items()} == {
        "mtty": "CONFIG_VFIO_MDEV",
        "nobodys": "the module nobodys",
    }


def test_a_directory_of_the_user_s(modules: Path, tmp_path: Path, store: Store) -> None:
    """Named by its path; what is wrong with it is the user's mistake."""
    with pytest.raises(UserMistake, match="is no directory"):
        provide(kernel_with(modules), [str(tmp_path / "gone")], store, tell_nobody)
    home = recipe_directory(tmp_path / "mine", "kernels = '>=7'\n")
    with pytest.raises(MissingCapability, match="the module mine builds for kernels >=7"):
        provide(kernel_with(modules), [str(home)], store, tell_nobody)


def test_built_modules_are_loaded_with_what_they_depend_on(modules: Path, tmp_path: Path) -> None:
    """The kernel's own modules first; they are placed as `make modules_install` does."""
    mine = tmp_path / "my-driver.ko"
    mine.write_bytes(module("my_driver", depends="virtio-rng,other"))
    other = tmp_path / "other.ko"
    other.write_bytes(module("other"))
    built = {"my_driver": mine, "other": other}
    found = closure(kernel_with(modules), ["my-driver"], tell_nobody, built)
    assert [item.path for item in found] == ["kernel/virtio-rng.ko", "extra/other.ko", "extra/my_driver.ko"]
    assert found[-1].depends == ("virtio_rng", "other")
    mine.write_bytes(module("my_driver", depends="gone"))
    with pytest.raises(Unusable, match=r"has no module gone.*the module my_driver needs it"):
        closure(kernel_with(modules), ["my-driver"], tell_nobody, built)


def test_what_a_kernel_lacks(modules: Path) -> None:
    """Dashes and underscores are one; nothing can be told of a bare image."""
    assert lacking(kernel_with(modules), ["virtio_rng", "mdpy", "x-y"]) == ["x-y"]
    assert lacking(kernel_with(None), ["x"]) == []


def test_some_module_of_a_kernel(modules: Path, tmp_path: Path) -> None:
    """To compare others with, if there is one."""
    assert any_module(kernel_with(modules)) == module("virtio_rng")
    assert any_module(kernel_with(None)) is None
    assert any_module(kernel_with(tmp_path / "empty")) is None
