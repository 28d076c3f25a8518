# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the cache, how large it is and when it was used last; and how it is made smaller."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from passthru.image.locks import try_lock
from passthru.image.tree import remove, tree_size
from passthru.image.trouble import cache_trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.store import Store

_DAY = 86400.0


@dataclass(frozen=True)
class Usage:
    """One entry: ``size`` in bytes, ``last_used`` in seconds since the epoch, ``names`` that mean it at present."""

    kind: str
    digest: str
    path: Path
    size: int
    last_used: float
    names: tuple[str, ...]
    key: Mapping[str, Any] = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)

    @property
    def title(self) -> str:
        """What a person calls it: the names that mean it, else what it holds."""
        packages = self.key.get("packages")
        if isinstance(packages, list) and packages:
            asked = self.facts.get("asked") or [packages[0].partition("=")[0]]
            version = next((item for item in packages if item.startswith(f"{asked[0]}=")), packages[0])
            return f"{version.replace('=', ' ')} ({self.facts.get('suite', 'Debian')})"
        told = self.facts.get("recipe")
        return f"{told} image" if told else self.kind


@dataclass(frozen=True)
class Pruned:
    """What prune() took away: entries, bytes; ``busy`` were to go but are in use."""

    entries: int
    bytes: int
    busy: int


def usage(store: Store) -> list[Usage]:
    """All entries, the one used last first."""
    names: dict[tuple[str, str], list[str]] = {}
    for alias in store.aliases():
        names.setdefault((alias["kind"], alias["digest"]), []).append(alias["name"])
    with cache_trouble(store.root, "cannot read the cache"):
        found = [
            Usage(
                kind=manifest["kind"],
                digest=manifest["digest"],
                path=home / "tree",
                size=manifest["size"],
                last_used=used,
                names=tuple(sorted(names.get((manifest["kind"], manifest["digest"]), ()))),
                key=manifest["key"],
                facts=manifest["facts"],
            )
            for home, manifest, used in _manifests(store.root)
        ]
    return sorted(found, key=lambda item: (-item.last_used, item.digest))


def working_bytes(store: Store) -> int:
    """Bytes that are no entries: apt's lists, answers kept, what is being made right now."""
    total = 0
    for name in ("area", "scratch"):
        with contextlib.suppress(FileNotFoundError):  # another process tidies up meanwhile
            total += tree_size(store.root / name)
    return total


def prune(
    store: Store,
    tell: Tell,
    *,
    unused_days: float | None = None,
    keep_bytes: int | None = None,
    everything: bool = False,
) -> Pruned:
    """Remove entries: unused for so many days; the longest unused ones until so few bytes are left; or all.

    What a running process uses stays, as do the aliases of what stays. Half-made entries of dead processes and package
    lists unused for as long (all of them with ``everything``) go too. Raises Unusable if the cache cannot be written.
    """
    if not store.root.exists():
        return Pruned(0, 0, 0)
    with cache_trouble(store.root, "cannot prune"):
        before = working_bytes(store)
        store.sweep()
        going = list(_going(usage(store), unused_days, keep_bytes, everything))
        gone = [item for item in going if _take_away(store, item)]
        _sweep_remains(store)
        _forget_names(store)
        limit = 0.0 if everything else unused_days
        if limit is not None:
            _tidy_areas(store, tell, limit)
        freed = sum(item.size for item in gone) + max(0, before - working_bytes(store))
    return Pruned(len(gone), freed, len(going) - len(gone))


def _going(found: list[Usage], days: float | None, keep_bytes: int | None, everything: bool) -> Iterator[Usage]:
    now = time.time()
    kept = 0
    for item in found:  # the one used last first
        if (
            everything
            or (days is not None and now - item.last_used > days * _DAY)
            or (keep_bytes is not None and kept + item.size > keep_bytes)
        ):
            yield item
        else:
            kept += item.size


def _take_away(store: Store, item: Usage) -> bool:
    home = item.path.parent
    fd = try_lock(home / "manifest.json")
    if fd is None:
        return False
    try:
        (home / "manifest.json").unlink()  # in one step it is no entry any more; and this works on a full disk
        remove(home)
    finally:
        os.close(fd)
    return True


def _sweep_remains(store: Store) -> None:
    """What a killed prune left of entries: they have no manifest, and whole ones are never without."""
    for home in store.root.glob("entries/*/*"):
        if not (home / "manifest.json").exists():
            remove(home)


def _forget_names(store: Store) -> None:
    for path in store.root.glob("aliases/*/*.json"):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            alias = json.loads(path.read_bytes())
            if not (store.home(alias["kind"], alias["digest"]) / "manifest.json").exists():
                path.unlink()


def _tidy_areas(store: Store, tell: Tell, days: float) -> None:
    """Package lists: the stamp of their last refresh tells their use."""
    for home in sorted(store.root.glob("area/apt/*")):
        with store.lock(f"apt-{home.name}", f"the package lists of {home.name}", tell):
            if days == 0 or time.time() - home.stat().st_mtime > days * _DAY:
                remove(home)
    if days == 0:
        remove(store.root / "area" / "answers")


def _manifests(root: Path) -> Iterable[tuple[Path, dict[str, Any], float]]:
    for path in sorted(root.glob("entries/*/*/manifest.json")):
        with contextlib.suppress(FileNotFoundError, ValueError):
            yield path.parent, json.loads(path.read_bytes()), path.stat().st_mtime
