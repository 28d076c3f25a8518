# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages, unpacked into a private root of the cache: the only place that knows apt and dpkg.

Standard library only: ci/make_venv.py uses it before anything is installed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.events import Note, Progress
from passthru.image.debian import suites
from passthru.image.debian.apt import Apt
from passthru.image.debian.mirrors import mirrors
from passthru.image.debian.unpack import link_aliases, unpack
from passthru.image.store import Entry, Store
from passthru.image.tree import remove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.events import Tell

KIND = "debian"


def packages_root(
    suite: str,
    packages: Sequence[str],
    arch: str,
    store: Store,
    tell: Tell,
    *,
    pins: Mapping[str, str] | None = None,
    closure: bool = True,
    only: str = "",
    what: str = "",
    update: bool = False,
) -> Entry:
    """A root that holds ``packages`` of a Debian suite, with all that they depend on (unless ``closure`` is false).

    What the suite meant last is used without any connection; ``update`` asks the mirror again. ``only`` is a regular
    expression: of the closure, the packages whose whole name matches are unpacked (a kernel without initramfs-tools).
    ``pins`` maps every package to an exact version and overrides the resolution (see pins_of()). ``arch`` is Debian's
    word (amd64, arm64), and need not be this machine's. The entry is addressed by the exact versions, so that a
    re-fetch of unchanged ones is a hit. Raises Unusable: no apt, no network, no such suite, package or version.
    """
    named = suites.suite(suite)
    what = what or f"{packages[0]} of Debian {named.name}"
    job = _Job(named, arch, store, tell, what)
    if pins is not None:
        exact = sorted(f"{name}={version}" for name, version in pins.items())
        return store.find(KIND, _key(arch, exact)) or job.fetch(packages, exact=exact)
    name = " ".join([named.name, arch, *sorted(packages), *([] if closure else ["alone"]), *([only] if only else [])])
    return store.resolve(
        KIND, name, lambda: job.fetch(packages, closure=closure, only=only, update=update), update=update
    )


def pins_of(entry_or_pin: Entry | Mapping[str, Any]) -> dict[str, str]:
    """The exact versions in a root, or in the pin of one: package -> version."""
    key = entry_or_pin.key if isinstance(entry_or_pin, Entry) else entry_or_pin["key"]
    return dict(item.split("=", 1) for item in key["packages"])


def _key(arch: str, exact: Sequence[str]) -> dict[str, str | Sequence[str]]:
    return {"arch": arch, "packages": list(exact)}


class _Job:
    """One fetch from one suite."""

    def __init__(self, suite: suites.Suite, arch: str, store: Store, tell: Tell, what: str) -> None:
        self.suite = suite
        self.arch = arch
        self.store = store
        self.tell = tell
        self.what = what

    def fetch(
        self,
        packages: Sequence[str],
        *,
        closure: bool = False,
        only: str = "",
        exact: Sequence[str] = (),
        update: bool = False,
    ) -> Entry:
        name = f"apt/{self.suite.name}-{self.arch}"
        home = self.store.area(name)
        lock = self.store.lock(name.replace("/", "-"), f"Debian {self.suite.name}", self.tell)
        with lock, self.store.trouble(self.what):
            apt = Apt(self.suite, self.arch, home, self.tell)
            apt.refresh(mirrors(), force=update)
            try:
                return self._make(apt, packages, closure, only, exact)
            except Unusable as first:  # the lists may be older than what the mirror still has: read them and try again
                if apt.refreshed:
                    raise
                self.tell(Note(f"{first}; reading the lists of Debian {self.suite.name} anew"))
                apt.refresh(mirrors(), force=True)
                if not apt.refreshed:
                    raise
                return self._make(apt, packages, closure, only, exact)

    def _make(self, apt: Apt, packages: Sequence[str], closure: bool, only: str, exact: Sequence[str]) -> Entry:
        wanted = list(exact) or (apt.closure(packages) if closure else list(packages))
        wanted = [item for item in wanted if not only or re.fullmatch(only, item.partition("=")[0])]
        if not wanted:
            raise Unusable(
                f"nothing that {', '.join(packages)} of Debian {self.suite.name} depends on matches {only!r}"
            )
        found = apt.exactly(wanted)
        key = _key(self.arch, sorted(package.exact for package in found))

        def build(root: Path) -> Mapping[str, object]:
            debs = apt.fetch(found, self.what)
            work = f"unpacking {self.what}"
            for done, deb in enumerate(debs):
                self.tell(Progress(work, done, len(debs), "packages"))
                unpack(deb, root)
            link_aliases(root)
            for deb in debs:
                remove(deb)
            self.tell(Progress(work, len(debs), len(debs), "packages", finished=True))
            return {"suite": self.suite.name, "asked": list(packages)}

        return self.store.entry(KIND, key, build, self.tell, what=self.what)
