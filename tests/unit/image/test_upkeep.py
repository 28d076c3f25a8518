# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the cache, and what leaves it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from passthru.events import tell_nobody
from passthru.image.store import Store
from passthru.image.upkeep import prune, usage, working_bytes
from tests.unit.image import processes

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400


def made(root: Path, name: str, *, size: int, days: float) -> str:
    """An entry last used so many days ago; its digest. No Store holds it."""
    store = Store(root)

    def build(tree: Path) -> None:
        (tree / "content").write_bytes(bytes(size))

    entry = store.entry("thing", {"name": name}, build, tell_nobody)
    store.set_alias("thing", name, entry)
    store.close()
    used = time.time() - days * DAY
    os.utime(entry.path.parent / "manifest.json", (used, used))
    return entry.digest


def left(store: Store) -> list[str]:
    """The names of what is left, the one used last first."""
    return [item.names[0] for item in usage(store)]


def test_what_is_there(store: Store) -> None:
    """Sizes, last use and names, the one used last first."""
    made(store.root, "old", size=10, days=9)
    made(store.root, "new", size=20, days=1)
    new, old = usage(store)
    assert [(item.names, item.size) for item in (new, old)] == [(("new",), 20), (("old",), 10)]
    assert round((time.time() - old.last_used) / DAY) == 9
    assert usage(Store(store.root / "none")) == []


def test_a_hit_is_a_use(store: Store) -> None:
    """So that prune keeps what is wanted."""
    digest = made(store.root, "old", size=10, days=9)
    assert store.by_digest("thing", digest)
    assert time.time() - usage(store)[0].last_used < DAY


def test_what_nobody_used_for_long_goes(store: Store) -> None:
    """With its name."""
    made(store.root, "old", size=10, days=9)
    made(store.root, "new", size=20, days=1)
    done = prune(store, tell_nobody, unused_days=5)
    assert (done.entries, done.bytes, done.busy) == (1, 10, 0)
    assert left(store) == ["new"]
    assert [alias["name"] for alias in store.aliases()] == ["new"]


def test_the_longest_unused_go_until_it_fits(store: Store) -> None:
    """What was used last is kept."""
    for days, name in enumerate(["a", "b", "c", "d"]):
        made(store.root, name, size=100, days=days)
    assert prune(store, tell_nobody, keep_bytes=250).entries == 2
    assert left(store) == ["a", "b"]


def test_everything_goes(store: Store) -> None:
    """apt's lists, half-made ones of the dead, what a killed prune left, and answers too."""
    made(store.root, "a", size=100, days=0)
    (store.area("apt/sid-amd64") / "list").write_bytes(bytes(50))
    (store.area("answers") / "qemu.json").write_text("{}")
    (store.root / "scratch" / "1-dead").mkdir()
    (store.root / "entries" / "thing" / ("0" * 64) / "tree").mkdir(parents=True)
    assert working_bytes(store) == 52
    assert prune(store, tell_nobody, everything=True).bytes == 152
    assert [path for path in store.root.rglob("*") if not path.is_dir()] == []


def test_what_is_in_use_stays(store: Store) -> None:
    """Another process's entries are safe for as long as it lives."""
    made(store.root, "a", size=100, days=9)
    user = processes.start('say(store.find("thing", {"name": "a"}).digest)\nsys.stdin.readline()\n', store.root)
    assert len(processes.line(user)) == 64
    done = prune(store, tell_nobody, everything=True)
    assert (done.entries, done.busy) == (0, 1)
    assert left(store) == ["a"]
    processes.end(user)
    assert prune(store, tell_nobody, everything=True).entries == 1


def test_a_full_disk_can_be_pruned(tmp_path: Path) -> None:
    """This is what people call it for."""
    snippet = """
from passthru.image.upkeep import prune
def build(tree):
    (tree / "large").write_bytes(bytes(400_000))
store.entry("thing", {"a": "1"}, build, tell)
store.close()
try:
    with (store.root / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(1000))
except OSError as error:
    say(error.strerror)
say(prune(store, tell, everything=True).entries)
"""
    said = processes.on_small_disk(snippet, tmp_path / "disk")
    assert said.split("\n")[:2] == ["No space left on device", "1"]


def test_an_empty_cache(store: Store) -> None:
    """Nothing is made by looking at nothing."""
    assert prune(store, tell_nobody, everything=True).entries == 0
    assert not store.root.exists()
