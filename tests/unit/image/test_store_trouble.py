# SPDX-License-Identifier: GPL-2.0-or-later
"""Full disks, closed doors, kills and competitors: nothing half-made, and one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import tell_nobody
from passthru.image.store import Store, canonical
from passthru.image.tree import listing
from tests.unit.image import processes

if TYPE_CHECKING:
    from pathlib import Path

BUILD = """
def build(tree):
    (tree / "folder").mkdir()
    (tree / "folder" / "large").write_bytes(bytes(300_000))
    say("building")
    sys.stdin.readline()
    (tree / "last").write_text("last")
"""
GET = """
try:
    say(store.entry("thing", {"a": "1"}, build, tell).path)
except PassthruError as error:
    say(f"{type(error).__name__}: {error}")
    say(sorted(os.listdir(store.root / "scratch")) if (store.root / "scratch").is_dir() else [])
"""
QUICK = BUILD.replace("    sys.stdin.readline()\n", "")


def assert_whole(store: Store) -> None:
    """Every entry is what its manifest says."""
    for manifest in store.root.glob("entries/*/*/manifest.json"):
        home = manifest.parent
        assert canonical(listing(home / "tree")).encode() == (home / "files.json").read_bytes()


def test_a_kill_while_building_leaves_nothing(store: Store) -> None:
    """The next process sweeps what a dead one left, and builds anew."""
    victim = processes.start(BUILD + GET, store.root)
    assert processes.line(victim) == "building"
    processes.kill(victim)
    assert len(list((store.root / "scratch").iterdir())) == 1
    assert store.find("thing", {"a": "1"}) is None
    built = store.entry("thing", {"a": "1"}, lambda tree: None, tell_nobody)
    assert built.path.is_dir()
    assert list((store.root / "scratch").iterdir()) == []


@pytest.mark.parametrize("step", ["listing", "sync_filesystem", "sync_directory"])
def test_a_kill_while_sealing_leaves_nothing_or_all(store: Store, step: str) -> None:
    """Before the rename there is nothing, after it all of it."""
    stop = f"""
import passthru.image.store as module
original = module.{step}
def stopping(path):
    result = original(path)
    say("sealing")
    sys.stdin.readline()
    return result
module.{step} = stopping
"""
    victim = processes.start(QUICK + stop + GET, store.root)
    assert [processes.line(victim), processes.line(victim)] == ["building", "sealing"]
    processes.kill(victim)
    assert (store.find("thing", {"a": "1"}) is not None) == (step == "sync_directory")
    assert_whole(store)
    assert store.entry("thing", {"a": "1"}, lambda tree: None, tell_nobody).path.is_dir()
    store.sweep()
    assert list((store.root / "scratch").iterdir()) == []


def test_kills_at_any_moment_leave_whole_entries_only(store: Store) -> None:
    """A process that builds one entry after the other is killed at many places."""
    busy = """
for number in range(10_000):
    def build(tree):
        for name in "abc":
            (tree / name).write_bytes(os.urandom(50_000))
    store.entry("thing", {"a": f"{os.getpid()}-{number}"}, build, tell)
    say(number)
"""
    for stop_at in range(5):
        victim = processes.start(busy, store.root)
        while processes.line(victim) != str(stop_at):
            assert victim.poll() is None
        processes.kill(victim)
        assert_whole(store)
    store.sweep()
    assert list((store.root / "scratch").iterdir()) == []


def test_one_builds_and_the_other_waits(store: Store) -> None:
    """Two processes want the same: the second says that it waits, and uses what the first made."""
    first = processes.start(BUILD + GET, store.root)
    assert processes.line(first) == "building"
    second = processes.start(BUILD + GET, store.root)
    assert "waiting for another process that is busy with thing" in processes.line(second)
    path = processes.end(first).strip()
    assert processes.end(second).strip() == path
    assert store.find("thing", {"a": "1"}) is not None


def test_who_waits_for_a_killed_one_builds(store: Store) -> None:
    """The kernel frees the lock of the dead."""
    first = processes.start(BUILD + GET, store.root)
    assert processes.line(first) == "building"
    second = processes.start(QUICK + GET, store.root)
    assert "waiting" in processes.line(second)
    processes.kill(first)
    assert processes.line(second) == "building"
    assert processes.end(second).strip().startswith(str(store.root))
    assert_whole(store)


def test_many_at_once_build_once(store: Store) -> None:
    """However many start together."""
    crowd = [processes.start(QUICK + GET, store.root) for _ in range(4)]
    said = [processes.end(process) for process in crowd]
    assert sum("building" in text for text in said) == 1
    assert len({text.strip().splitlines()[-1] for text in said}) == 1


def test_a_full_disk(tmp_path: Path) -> None:
    """A sentence that names the cache, and nothing half-made."""
    said = processes.on_small_disk(QUICK.replace("300_000", "3_000_000") + GET, tmp_path / "disk")
    assert "Unusable: cannot keep thing: the disk is full at the cache" in said
    assert "`passthru cache prune`" in said
    assert "PASSTHRU_CACHE" in said
    assert said.strip().endswith("[]")


def test_a_file_that_may_not_grow(store: Store) -> None:
    """The limit of file sizes is no traceback either."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    said = processes.end(processes.start(limit + QUICK + GET, store.root))
    assert "Unusable: cannot keep thing: a file would grow over the allowed size" in said
    assert said.strip().endswith("[]")


def test_a_read_only_filesystem(tmp_path: Path) -> None:
    """The sentence says that it is the filesystem."""
    said = processes.on_small_disk(QUICK + GET, tmp_path / "disk", "ro")
    assert "is on a read-only filesystem" in said
    assert "PASSTHRU_CACHE" in said


def test_a_cache_of_somebody_else(tmp_path: Path) -> None:
    """What is in it can be used, more cannot be kept."""
    root = tmp_path / "cache"
    made = Store(root).entry("thing", {"a": "0"}, lambda tree: None, tell_nobody)
    closed = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for path in closed:
        path.chmod(0o500)
    try:
        reading = 'say(store.find("thing", {"a": "0"}).path)\n'
        said = processes.without_override(reading + QUICK + GET, root)
    finally:
        for path in closed:
            path.chmod(0o700)
    assert str(made.path) in said
    assert "Unusable" in said
    assert f"this user may not use the cache {root}" in said


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_path_that_is_a_file(tmp_path: Path, place: str) -> None:
    """Neither the file nor what would be below it is a cache."""
    (tmp_path / "file").write_text("mine")
    store = Store(tmp_path / place)
    with pytest.raises(Unusable, match="is a file and no directory"):
        store.entry("thing", {"a": "1"}, lambda tree: None, tell_nobody)
    assert (tmp_path / "file").read_text() == "mine"
