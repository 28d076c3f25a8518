# SPDX-License-Identifier: GPL-2.0-or-later
"""What a module recipe says, and what is wrong with those that say it badly."""

from __future__ import annotations

from pathlib import Path

import pytest

from passthru.errors import UserMistake
from passthru.image.kbuild.recipe import ModuleRecipe, known, load
from tests.unit.image.kbuild.made import recipe_directory

FULL = """
summary = "all keys"
modules = ["vfio-platform", "vfio-amba"]
kernels = ">=6.1, <8"
config = ["CONFIG_VFIO", "ARM_AMBA"]

[linux]
from = "drivers/vfio/platform/"
files = ["*.c", "reset/*"]

[make]
CONFIG_VFIO_PLATFORM = "m"
"""


def test_all_that_a_recipe_says(tmp_path: Path) -> None:
    """Names as the kernel has them, options without CONFIG_."""
    recipe = load(recipe_directory(tmp_path / "platform", FULL, own_c="int x;\n"))
    assert (recipe.name, recipe.summary) == ("platform", "all keys")
    assert recipe.promised == ("vfio_platform", "vfio_amba")
    assert recipe.config == ("VFIO", "ARM_AMBA")
    assert (recipe.linux_from, recipe.linux_files) == ("drivers/vfio/platform", ("*.c", "reset/*"))
    assert recipe.make == {"CONFIG_VFIO_PLATFORM": "m"}
    assert recipe.own == {"Kbuild": b"obj-m := platform.o\n", "own.c": b"int x;\n"}


def test_a_recipe_promises_one_module_of_its_name(tmp_path: Path) -> None:
    """Unless it says otherwise."""
    assert load(recipe_directory(tmp_path / "my-driver")).promised == ("my_driver",)


def test_a_directory_without_a_recipe(tmp_path: Path) -> None:
    """Somebody's own module: nothing is promised, whatever comes is taken; named by its path as well."""
    home = recipe_directory(tmp_path / "mine", None, mine_c="")
    assert load(home).promised == ()
    assert load(str(home)) == load(home)


def test_what_a_build_by_hand_leaves_is_no_source(tmp_path: Path) -> None:
    """Or the identity would change, and stale objects would be taken."""
    home = recipe_directory(tmp_path / "mine", mine_c="")
    before = load(home)
    for name in ("mine.o", "mine.ko", "mine.mod", "mine.mod.c", ".mine.o.cmd", "Module.symvers", "modules.order"):
        (home / name).write_text("made")
    (home / ".git").mkdir()
    (home / ".git/HEAD").write_text("made")
    assert load(home) == before


def test_the_identity_is_that_of_what_is_built(tmp_path: Path) -> None:
    """It changes with all that goes into the build, and not with what a person is told."""
    base = {"linux": "[linux]\nfrom='a'\nfiles=['b.c']\n", "make": "[make]\nA='1'\n"}

    def identity(number: int, source: str = "int x;", head: str = "", linux: str = base["linux"]) -> str:
        home = recipe_directory(tmp_path / str(number) / "one", head + linux + base["make"], one_c=source)
        return load(home).identity

    first = identity(0)
    assert identity(1) == first
    assert identity(2, head="summary = 'other'\nkernels = '>=6.1'\n") == first
    others = [
        identity(3, source="int y;"),
        identity(4, linux="[linux]\nfrom='a'\nfiles=['c.c']\n"),
        identity(5, linux="[linux]\nfrom='b'\nfiles=['b.c']\n"),
        identity(6, head="modules = ['other']\n"),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("kernels", "good", "bad"),
    [
        ("", ["2.6.32", "6.1.0-56-amd64", "strange"], []),
        (">=6.1", ["6.1.0-56-cloud-amd64", "6.12.95+deb12-amd64", "7.2.13", "6.1"], ["5.10.0", "6.0.9"]),
        (">=6.1, <7", ["6.19.1"], ["7.0.0", "7.2.13+deb14-amd64"]),
        ("6.1", ["6.1.192"], ["6.12.1", "6.2"]),
        (">6.1,<=6.12", ["6.2", "6.12.95"], ["6.1.5", "6.13"]),
    ],
)
def test_which_kernels_it_is_good_for(tmp_path: Path, kernels: str, good: list[str], bad: list[str]) -> None:
    """Compared by number: 6.12 is newer than 6.2."""
    recipe = load(recipe_directory(tmp_path / "one", f'kernels = "{kernels}"\n'))
    assert [release for release in good + bad if recipe.good_for(release)] == good


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("sumary = 'x'", "unknown key: sumary"),
        ("summary = 1", "summary is not a string"),
        ("config = 'VFIO'", "config is not a list of strings"),
        ("modules = ['']", "modules is not a list of strings"),
        ("kernels = '6.x'", "kernels = '6.x' is not written like"),
        ("kernels = 'new'", "is not written like"),
        ("linux = 'samples'", r"\[linux\] is not a table"),
        ("[linux]\nfile = ['x']", r"\[linux\] is not a table of from and files"),
        ("[linux]\nfiles = ['../x']", "leaves the kernel's source"),
        ("[linux]\nfrom = '/etc'", "leaves the kernel's source"),
        ("[linux]\nfiles = ['**/x.c']", "a pattern for each directory"),
        ("[make]\nA = 1", r"\[make\] is not a table of variables"),
        ("[make]\n'A B' = '1'", r"\[make\] is not a table of variables"),
        ("= x", "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_recipe(tmp_path: Path, toml: str, said: str) -> None:
    """One sentence that names the file."""
    home = recipe_directory(tmp_path / "one", toml)
    with pytest.raises(UserMistake, match=said) as error:
        load(home)
    assert str(home / "recipe.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_binary_garbage(tmp_path: Path) -> None:
    """As a recipe."""
    home = recipe_directory(tmp_path / "one")
    (home / "recipe.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserMistake, match="cannot be read"):
        load(home)


def test_what_is_no_recipe_at_all(tmp_path: Path) -> None:
    """A name that nobody has, a path that is not there, a directory of something else."""
    with pytest.raises(UserMistake, match=r"no module recipe nothing.*known are .*mtty"):
        load("nothing")
    with pytest.raises(UserMistake, match="is no directory"):
        load(tmp_path / "gone")
    with pytest.raises(UserMistake, match="holds no Kbuild"):
        load(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(UserMistake, match="holds no Kbuild"):
        load(tmp_path)


def test_a_directory_that_is_too_large(tmp_path: Path) -> None:
    """A home directory named by mistake is not read whole."""
    home = recipe_directory(tmp_path / "one")
    with (home / "large.bin").open("wb") as stream:
        stream.truncate(17 << 20)
    with pytest.raises(UserMistake, match="more than 16 MiB"):
        load(home)


@pytest.fixture(scope="module")
def recipes() -> dict[str, ModuleRecipe]:
    """Those of this installation."""
    return {recipe.name: recipe for recipe in known()}


def test_our_own_recipes(recipes: dict[str, ModuleRecipe]) -> None:
    """They are well-formed, and say what they are."""
    assert {"mtty", "mdpy"} <= recipes.keys()
    assert all(recipe.summary and recipe.promised for recipe in recipes.values())
    promised = [name for recipe in recipes.values() for name in recipe.promised]
    assert len(promised) == len(set(promised))


def test_the_test_s_own_recipe() -> None:
    """The one that the tests with real kernels build."""
    assert load(Path("tests/modules/hello")).promised == ("hello",)
