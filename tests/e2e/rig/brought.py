# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes passthru run inside a rig: its dependencies for the Python there, and a cache with kernel and image.

Both are made once, in the cache of these tests, and brought in by a check that names them.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from passthru.events import tell_nobody
from passthru.image.archive import export, import_archive
from passthru.image.bytecode import compile_tree
from passthru.image.debian import packages_root
from passthru.image.guest import floor_image
from passthru.image.recipe import load
from passthru.image.store import Entry, Store
from passthru.run.plan import make_plan
from passthru.run.what import the_request
from tests.e2e.places import dependencies, quietly
from tests.e2e.rig.emulated import SCENARIO

PYTHON = "3.11"
"""The version of the rig's Python (Debian bookworm)."""
_PLATFORM = "manylinux2014_x86_64"


@dataclass(frozen=True)
class Brought:
    """Directories of this machine that the rig has too."""

    packages: Path
    """passthru's dependencies, for the rig's Python."""
    cache: Path
    """A cache of passthru's, with the kernel and the images of a guest."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """What of a scenario brings them in."""
        files = f'["{self.packages}", "{self.cache}"]'
        return (
            "check.brought.use=host-command",
            f"check.brought.program={Path(__file__).with_name('nothing.sh')}",
            f"check.brought.files={files}",
        )


def bring() -> Brought:
    """Both directories, from the cache where they were made before; blocks."""
    store = Store()
    return Brought(_packages(store).path, _cache(store).path)


def _packages(store: Store) -> Entry:
    names = sorted(f"{each.name}=={each.version}" for each in dependencies("passthru"))

    def build(tree: Path) -> None:
        options = ("--python-version", PYTHON, "--platform", _PLATFORM, "--only-binary", ":all:", "--no-compile")
        quietly(sys.executable, "-m", "pip", "install", "--no-deps", *options, "--target", str(tree), *names)
        compile_tree(tree, "", _python(store), store)

    key = {"python": PYTHON, "platform": _PLATFORM, "packages": names}
    return store.entry("test-packages", key, build, tell_nobody, what="passthru's dependencies in a rig")


def _python(store: Store) -> Path:
    """A root that holds the rig's Python."""
    recipe = load("rig")
    return packages_root(recipe.suite, sorted(recipe.packages), "amd64", store, tell_nobody).path


class _Recorded(Store):
    """A cache that knows what was taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[str, Entry] = {}

    def by_digest(self, kind: str, digest: str) -> Entry | None:
        """The entry of this address if it is here."""
        entry = super().by_digest(kind, digest)
        if entry is not None:
            self.taken[entry.digest] = entry
        return entry


def _cache(store: Store) -> Entry:
    """A cache with what a run of the scenario takes, but for QEMU, which the rig has already."""
    recorded = _Recorded()
    scenario = the_request(str(SCENARIO), LOCAL)
    plan = make_plan(scenario, recorded, tell_nobody)
    floor_image(recorded, tell_nobody)
    qemu = plan.qemu.pin["root"]["digest"] if plan.qemu.pin.get("root") else ""
    entries = [entry for digest, entry in sorted(recorded.taken.items()) if digest != qemu]

    def build(tree: Path) -> None:
        with store.scratch() as scratch:
            export(store, entries, scratch / "archive.tar", tell_nobody)
            import_archive(Store(tree), scratch / "archive.tar", tell_nobody)

    return store.entry("test-cache", {"entries": [entry.digest for entry in entries]}, build, tell_nobody)


LOCAL = ("host={kind='local'}",)
"""Overrides by which the shared scenario is that of a run inside the rig."""


def installed(store: Store, scratch: Path) -> bytes:
    """A tar file with the wheel of this checkout, unpacked and compiled for the rig's Python."""
    wheels = scratch / "wheels"
    quietly(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels))
    (wheel,) = wheels.glob("*.whl")
    tree = scratch / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree)
    compile_tree(tree, "", _python(store), store)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(tree, ".")
    return packed.getvalue()
