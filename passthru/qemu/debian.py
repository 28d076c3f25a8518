# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs that Debian built, unpacked into the cache, and how one of them is started where it was never installed.

Those for machines of another architecture, to be started in a rig of that one, come the same way.
The foreign libc needs its own loader, which is told where the libraries are; QEMU is told where its firmware and its
modules are. All of it is found below the entry's directory at the time of use, so that a cache can be moved.
"""

from __future__ import annotations

import contextlib
import platform
import re
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.image.arch import ARCHES, of_machine
from passthru.image.debian import packages_root, pins_of
from passthru.qemu.binary import Candidate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.arch import Arch
    from passthru.image.store import Entry, Store

SCHEME = "debian:"
_ALIAS = "qemu"

_NEW_SUITES = ("trixie-backports", "forky", "sid")
_OLD_SUITES = ("trixie", "bookworm")
# Gone from QEMU 10.2 on (docs/about/removed-features.rst), so that only older suites can have them.
_GONE = frozenset({"vfio-platform", "vfio-calxeda-xgmac", "vfio-amd-xgbe"})

_PACKAGES = {
    "x86_64": ("qemu-system-x86", "seabios"),
    "i386": ("qemu-system-x86", "seabios"),
    "aarch64": ("qemu-system-arm", "ipxe-qemu"),
    "arm": ("qemu-system-arm", "ipxe-qemu"),
}
# ld.so(8), --library-path: they cannot be escaped.
_SEPARATORS = ":;"
_DATA = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")


def suites_for(needs: Collection[str]) -> tuple[str, ...]:
    """The suites worth asking for a QEMU that has these devices, best first."""
    return _OLD_SUITES if _GONE & set(needs) else _NEW_SUITES


def fetched(suite: str, arch: str, store: Store, tell: Tell, *, on: str = "", update: bool = False) -> Candidate:
    """The QEMU of a suite that emulates ``arch``: from the cache without any connection, else fetched.

    ``on`` is the architecture (Debian's word) of the machine that is to start it, by default this one's. ``update``
    asks the suite for its present version. Raises Unusable: no such architecture, no network, no room.
    """
    machine = _machine(on)
    packages = _packages(arch)
    _refuse_separators(store.root)

    def fetch() -> Entry:
        what = f"QEMU of Debian {suite}"
        return packages_root(suite, packages, machine.name, store, tell, what=what, update=update)

    entry = store.resolve(_alias(on), f"{suite}/{arch}", fetch, update=update)
    return _candidate(f"{SCHEME}{suite}", arch, entry, on)


def pinned(source: str, arch: str, root: Mapping[str, Any], store: Store, tell: Tell, *, on: str = "") -> Candidate:
    """Exactly the QEMU that a lock file names: from the cache, else fetched by its packages' exact versions."""
    _refuse_separators(store.root)
    entry = store.pinned(root)
    if entry is None:
        suite = source.removeprefix(SCHEME)
        pins = pins_of(root)
        what = f"QEMU of Debian {suite}"
        packages = _packages(arch)
        entry = packages_root(suite, packages, _machine(on).name, store, tell, pins=pins, what=what)
    return _candidate(source, arch, entry, on)


def in_cache(store: Store, arch: str | None = None, *, on: str = "") -> Iterator[Candidate]:
    """The QEMUs that were fetched before, those of the newest suites first; only of one architecture if given."""
    known = {alias["name"] for alias in store.aliases() if alias["alias"] == _alias(on)}
    order = {suite: place for place, suite in enumerate((*_NEW_SUITES, *_OLD_SUITES))}
    for name in sorted(known, key=lambda name: (order.get(name.partition("/")[0], len(order)), name)):
        suite, _, emulated = name.partition("/")
        if arch in (None, emulated) and (entry := store.aliased(_alias(on), name)):
            with contextlib.suppress(Unusable):  # not for this machine: who names it is told so
                yield _candidate(f"{SCHEME}{suite}", emulated, entry, on)


def source_version(candidate: Candidate, arch: str) -> str:
    """The version of the source that a QEMU was built from: without what tells builds of one source apart (+b3)."""
    assert candidate.root is not None
    return re.sub(r"\+b\d+$", "", pins_of(candidate.root)[_packages(arch)[0]])


def _alias(on: str) -> str:
    return f"{_ALIAS}-{on}" if on else _ALIAS


def _candidate(source: str, arch: str, entry: Entry, on: str) -> Candidate:
    machine = _machine(on)
    root = entry.path
    program = root / "usr/bin" / f"qemu-system-{arch}"
    # The one below lib64 is, in older suites, a link to the loader of whatever system this is.
    loader = root / machine.libraries / machine.loader
    if not (program.is_file() and loader.is_file()):
        starter = f"an {on}" if on else f"this {platform.machine()}"
        raise Unusable(
            f"{source} in the cache ({root}) holds no QEMU for {arch} that {starter} machine could start; take "
            "another suite, or remove it with `passthru cache prune` and fetch it again"
        )
    libraries = [root / machine.libraries, *_library_folders(root / machine.libraries)]
    data = [word for folder in _DATA if (root / folder).is_dir() for word in ("-L", str(root / folder))]
    return Candidate(
        source=source,
        command=(str(loader), "--library-path", ":".join(map(str, libraries)), str(program), *data),
        identity=f"{entry.digest[:40]}-{arch}",
        env={"QEMU_MODULE_DIR": str(root / machine.libraries / "qemu")},
        root=entry.pin,
        runs_on=on,
    )


def _refuse_separators(cache: Path) -> None:
    """Raise Unusable for a cache whose QEMU could not find its libraries, before anything is fetched into it."""
    if any(separator in str(cache) for separator in _SEPARATORS):
        raise Unusable(
            f"the path of the cache {cache} has a colon or semicolon, at which the loader of a fetched QEMU would cut "
            "it; set PASSTHRU_CACHE to a directory without, or name an installed QEMU with --qemu PATH"
        )


def _library_folders(libraries: Path) -> list[Path]:
    """Private folders of libraries (pulseaudio's): found there through RUNPATH where they are installed."""
    return [folder for folder in sorted(libraries.iterdir()) if folder.is_dir() and any(folder.glob("lib*.so.*"))]


def _packages(arch: str) -> tuple[str, ...]:
    try:
        return _PACKAGES[arch]
    except KeyError:
        known = ", ".join(sorted(_PACKAGES))
        raise Unusable(
            f"passthru does not know which Debian package emulates {arch} (it knows {known}); name a QEMU with "
            "--qemu PATH"
        ) from None


def _machine(on: str) -> Arch:
    """What starts it: this machine, or one of the architecture ``on``."""
    machine = ARCHES[on] if on else of_machine(platform.machine())
    if machine is None:
        raise Unusable(
            f"passthru fetches QEMU for x86_64 and aarch64 machines, and this is {platform.machine()}; install QEMU "
            "and name it with --qemu PATH"
        )
    return machine
