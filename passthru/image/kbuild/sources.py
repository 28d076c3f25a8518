# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of the kernel's own source, of the very version in use: out of Debian's linux-source-X.Y, or a build tree."""

from __future__ import annotations

import fnmatch
import lzma
import re
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.events import Progress
from passthru.image.arch import machine_arch
from passthru.image.debian import packages_root
from passthru.image.debian.apt import NotInSuite
from passthru.image.kbuild.headers import build_tree, debian_version
from passthru.image.own.recipe import load as load_own
from passthru.image.watched import watched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.events import Tell
    from passthru.image.kbuild.recipe import ModuleRecipe
    from passthru.image.kernel import Kernel
    from passthru.image.store import Entry, Store


def of_kernel(recipe: ModuleRecipe, kernel: Kernel, store: Store, tell: Tell) -> dict[str, bytes]:
    """Path -> content of the files that a recipe takes from the source of ``kernel``; paths below its ``from``.

    MissingCapability where the source is not to be had; UserMistake where it holds no such file.
    """
    if not recipe.linux_files:
        return {}
    tree = build_tree(kernel) if kernel.pin is None else None
    if tree is not None:
        return _of_tree(tree, recipe, kernel)
    if kernel.pin is None:
        raise MissingCapability(
            "kernel source",
            f"the module {recipe.name} is made of the kernel's own source, and {kernel.source} is a bare image; name "
            "its build tree or debian:SUITE instead",
        )
    files = _of_debian(recipe, kernel, store, tell).path
    return {str(path.relative_to(files)): path.read_bytes() for path in sorted(files.rglob("*")) if path.is_file()}


def _of_tree(tree: Path, recipe: ModuleRecipe, kernel: Kernel) -> dict[str, bytes]:
    source = tree / "source" if (tree / "source").is_dir() else tree  # O=: the tree names where its source is
    home = source / recipe.linux_from
    if not (source / "kernel").is_dir():
        raise MissingCapability(
            "kernel source",
            f"the module {recipe.name} is made of the kernel's own source, and {tree} holds only the headers of "
            f"{kernel.release}; name a tree with its source",
        )
    found = {}
    for pattern in recipe.linux_files:
        hits = [path for path in sorted(home.glob(pattern)) if path.is_file()]
        if not hits:
            raise _no_such_file(recipe, pattern, f"the kernel's source {source}")
        found.update({str(path.relative_to(home)): path.read_bytes() for path in hits})
    return found


def _of_debian(recipe: ModuleRecipe, kernel: Kernel, store: Store, tell: Tell) -> Entry:
    suite, package, version = source_package(kernel)
    key: Mapping[str, str | Sequence[str]] = {
        "package": f"{package}={version}",
        "from": recipe.linux_from,
        "files": list(recipe.linux_files),
    }
    what = f"the source of {recipe.name} from {package}"

    def build(tree: Path) -> None:
        try:
            exact = [f"{package}={version}"]
            root = packages_root(suite, exact, machine_arch(), store, tell, closure=False, what=package)
        except NotInSuite as error:
            raise MissingCapability(
                "kernel source",
                f"Debian {suite} has no {package} {version} any more, of which the module {recipe.name} is made; take "
                "its present kernel with `passthru fetch --update`",
            ) from error
        archives = sorted((root.path / "usr/src").glob("linux-source-*.tar.*"))
        if not archives:
            raise Unusable(f"Debian's {package} {version} holds no source archive; take another kernel")
        _extract(archives[0], recipe, tree, tell, f"unpacking {what}")

    return store.entry("kernel-source", key, build, tell, what=what)


def source_package(kernel: Kernel) -> tuple[str, str, str]:
    """Suite, package and version of the source that a kernel of Debian's, or the own one, was built from."""
    if not kernel.source.startswith("debian:"):
        assert kernel.pin is not None
        package, _, version = kernel.pin["key"]["source"][0].partition("=")
        return load_own(kernel.arch).suite, package, version
    match = re.match(r"\d+\.\d+", kernel.release)
    if not match:
        raise Unusable(f"the release {kernel.release} of {kernel.source} does not tell which source is its own")
    suite = kernel.source.removeprefix("debian:").partition("/")[0]
    return suite, f"linux-source-{match[0]}", debian_version(kernel)


def _extract(archive: Path, recipe: ModuleRecipe, to: Path, tell: Tell, work: str) -> None:
    """The wanted files alone; where all of them are named, what comes behind the last one is not even read."""
    patterns = {f"{recipe.linux_from}/{name}".lstrip("/"): name for name in recipe.linux_files}
    missing = dict(patterns)
    exact = not any(re.search(r"[*?[]", pattern) for pattern in patterns)
    total = archive.stat().st_size
    try:
        with archive.open("rb") as raw, tarfile.open(fileobj=watched(raw, total, tell, work), mode="r|xz") as packed:
            for member in packed:
                path = member.name.partition("/")[2]
                hits = [pattern for pattern in patterns if _matches(path, pattern)]
                if not hits or not member.isfile():
                    continue
                for pattern in hits:
                    missing.pop(pattern, None)
                place = to / Path(path).relative_to(recipe.linux_from)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as stream:
                    shutil.copyfileobj(cast("BinaryIO", packed.extractfile(member)), stream)
                if exact and not missing:
                    break
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise Unusable(f"{archive.name} is damaged ({error}); remove {archive} and try again") from error
    tell(Progress(work, total, total, "bytes", finished=True))
    for name in missing.values():
        raise _no_such_file(recipe, name, archive.name)


def _matches(path: str, pattern: str) -> bool:
    """As Path.glob() has it: a ``*`` stays within one directory."""
    names, parts = path.split("/"), pattern.split("/")
    return len(names) == len(parts) and all(map(fnmatch.fnmatchcase, names, parts))


def _no_such_file(recipe: ModuleRecipe, name: str, where: str) -> UserMistake:
    return UserMistake(
        f"the module recipe {recipe.home} takes {recipe.linux_from}/{name}, which {where} does not hold; correct the "
        "recipe, or say in its `kernels` which ones it is good for"
    )
