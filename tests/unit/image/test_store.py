# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache keeps whole things by what they were made from."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import tell_nobody
from passthru.image.store import Store, default_root, digest_of
from passthru.image.tree import walk

if TYPE_CHECKING:
    from tests.unit.image.conftest import Told


def one_file(tree: Path) -> None:
    """Build what most tests keep."""
    (tree / "file").write_text("content")


def never(tree: Path) -> None:
    """A builder that must not be asked."""
    raise AssertionError("built, though it is here")


def everything(root: Path) -> list[tuple[str, int, int]]:
    """Each name below a cache, with its inode and size: what a change would change."""
    return [(path, info.st_ino, info.st_size) for path, info in walk(root)]


def test_what_was_built_once_is_used_again(store: Store) -> None:
    """The second time nobody builds, whatever the order of the key."""
    first = store.entry("thing", {"a": "1", "b": ["x", "y"]}, one_file, tell_nobody)
    again = store.entry("thing", {"b": ["x", "y"], "a": "1"}, never, tell_nobody)
    assert (again.path, again.digest) == (first.path, digest_of("thing", {"a": "1", "b": ["x", "y"]}))
    assert (again.path / "file").read_text() == "content"
    assert again.key == {"a": "1", "b": ["x", "y"]}


def test_other_keys_and_kinds_are_other_entries(store: Store) -> None:
    """Nothing is mixed up."""
    digests = {store.entry(kind, {"a": a}, one_file, tell_nobody).digest for kind in ("x", "y") for a in ("1", "2")}
    assert len(digests) == 4


def test_a_builder_s_facts_come_back(store: Store) -> None:
    """What a builder returns is kept beside what it made."""
    store.entry("thing", {"a": "1"}, lambda tree: {"release": "6.1"}, tell_nobody)
    assert store.entry("thing", {"a": "1"}, never, tell_nobody).facts == {"release": "6.1"}


def test_a_hit_writes_nothing_and_waits_for_nobody(store: Store, told: Told) -> None:
    """A hit changes no name, and needs no lock even while another one holds it."""
    made = store.entry("thing", {"a": "1"}, one_file, told)
    lock = store.root / "locks" / f"thing-{made.digest}.lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        before = everything(store.root)
        assert Store(store.root).entry("thing", {"a": "1"}, never, told).path == made.path
        assert everything(store.root) == before
    assert told == []


def test_a_failing_builder_leaves_nothing(store: Store) -> None:
    """Its own error passes through, and the next one may try."""

    def fails(tree: Path) -> None:
        (tree / "half").write_text("half")
        raise Unusable("the mirror is gone")

    with pytest.raises(Unusable, match="the mirror is gone"):
        store.entry("thing", {"a": "1"}, fails, tell_nobody)
    assert [path for path, info in walk(store.root) if "half" in path or "scratch/" in path] == []
    assert store.find("thing", {"a": "1"}) is None
    assert store.entry("thing", {"a": "1"}, one_file, tell_nobody).path.is_dir()


def test_an_interrupted_builder_leaves_nothing(store: Store) -> None:
    """Ctrl-C too."""

    def interrupted(tree: Path) -> None:
        (tree / "half").mkdir()
        (tree / "half").chmod(0o500)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.entry("thing", {"a": "1"}, interrupted, tell_nobody)
    assert list((store.root / "scratch").iterdir()) == []


def test_what_cannot_be_kept_is_told(store: Store) -> None:
    """A pipe in a tree would hang who reads it."""
    import os

    with pytest.raises(Unusable, match="neither a file"):
        store.entry("thing", {"a": "1"}, lambda tree: os.mkfifo(tree / "pipe"), tell_nobody)


def test_an_entry_without_its_manifest_is_made_anew(store: Store) -> None:
    """Somebody deleted by hand what makes it an entry."""
    made = store.entry("thing", {"a": "1"}, one_file, tell_nobody)
    store.close()
    (made.path.parent / "manifest.json").unlink()
    assert Store(store.root).entry("thing", {"a": "1"}, one_file, tell_nobody).path == made.path


def test_a_damaged_manifest_is_named(store: Store) -> None:
    """The sentence says which directory to remove."""
    made = store.entry("thing", {"a": "1"}, one_file, tell_nobody)
    (made.path.parent / "manifest.json").write_text("{")
    with pytest.raises(Unusable, match=str(made.path.parent)):
        Store(store.root).find("thing", {"a": "1"})


def test_a_pin_brings_exactly_that_back(store: Store) -> None:
    """A pin names the address and the content."""
    made = store.entry("thing", {"a": "1"}, one_file, tell_nobody)
    found = store.pinned(made.pin)
    assert found is not None
    assert found.path == made.path
    assert store.pinned({**made.pin, "digest": "0" * 64}) is None
    with pytest.raises(Unusable, match="another content"):
        store.pinned({**made.pin, "content": "0" * 64})


def test_a_moving_name_means_what_it_meant_last(store: Store) -> None:
    """Offline the name still resolves; update asks anew."""
    first = store.entry("thing", {"version": "1"}, one_file, tell_nobody)
    second = store.entry("thing", {"version": "2"}, one_file, tell_nobody)
    asked = []

    def newest() -> object:
        asked.append(1)
        return second

    store.set_alias("thing", "debian:sid", first)
    assert store.resolve("thing", "debian:sid", newest) == first  # type: ignore[arg-type]
    assert asked == []
    assert store.resolve("thing", "debian:sid", newest, update=True) == second  # type: ignore[arg-type]
    assert Store(store.root).aliased("thing", "debian:sid") == second


def test_a_damaged_name_is_asked_anew(store: Store) -> None:
    """An alias is easily had again."""
    made = store.entry("thing", {"a": "1"}, one_file, tell_nobody)
    store.set_alias("thing", "name", made)
    (path,) = (store.root / "aliases" / "thing").iterdir()
    path.write_text("garbage")
    assert store.resolve("thing", "name", lambda: made) == made
    assert store.aliased("thing", "name") == made


def test_names_that_lead_elsewhere_are_no_kinds(store: Store) -> None:
    """A lock file is read from outside: what it names must stay inside."""
    for kind, digest in (("../thing", "0" * 64), ("thing", "../../etc"), ("thing", "0" * 63)):
        with pytest.raises(ValueError, match="is no name"):
            store.by_digest(kind, digest)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PASSTHRU_CACHE, then XDG_CACHE_HOME (absolute ones only), then the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/xdg")
    monkeypatch.setenv("PASSTHRU_CACHE", "/var/tmp/own")
    assert default_root() == Path("/var/tmp/own")
    monkeypatch.delenv("PASSTHRU_CACHE")
    assert default_root() == Path("/var/tmp/xdg/passthru")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == tmp_path / ".cache/passthru"
