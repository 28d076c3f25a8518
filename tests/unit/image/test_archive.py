# SPDX-License-Identifier: GPL-2.0-or-later
"""Entries travel in a tar file, and nothing comes out of one that should not."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from passthru.errors import PassthruError, Unusable, UserMistake
from passthru.events import Note, Progress, tell_nobody
from passthru.image.archive import export, import_archive
from passthru.image.store import Entry, Store
from passthru.image.tree import listing
from tests.unit.image import processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.image.conftest import Told


def a_tree(tree: Path) -> None:
    """Files, programs, directories, links in and out, hard links, and names that are no ASCII."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_bytes(os.urandom(5000))
    (tree / "usr/bin/tool").chmod(0o755)
    (tree / "usr/bin/same").hardlink_to(tree / "usr/bin/tool")
    (tree / "bin").symlink_to("usr/bin")
    (tree / "outside").symlink_to("/etc/passwd")
    (tree / "empty").mkdir()
    (tree / "späte Größe").write_text("x")


@pytest.fixture
def entry(store: Store) -> Entry:
    """An entry that a moving name means."""
    made = store.entry("debian", {"packages": ["a=1"]}, a_tree, tell_nobody)
    store.set_alias("debian", "sid tool", made)
    return made


@pytest.fixture
def archive(store: Store, entry: Entry, tmp_path: Path) -> Path:
    """It, exported."""
    path = tmp_path / "cache.tar"
    export(store, [entry], path, tell_nobody)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The cache of another machine."""
    return Store(tmp_path / "other")


def rewritten(path: Path, change: Callable[[tarfile.TarInfo, bytes], bytes | None], *more: tarfile.TarInfo) -> Path:
    """The archive with its members changed (None: left out), and some more."""
    result = path.with_name("changed.tar")
    with tarfile.open(path) as old, tarfile.open(result, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            stream = old.extractfile(member) if member.isreg() else None
            data = change(member, stream.read() if stream else b"")
            if data is not None:
                member.size = len(data) if member.isreg() else 0
                new.addfile(member, io.BytesIO(data))
        for member in more:
            new.addfile(member, io.BytesIO(bytes(member.size)))
    return result


def as_it_is(member: tarfile.TarInfo, data: bytes) -> bytes:
    """No change."""
    return data


def assert_nothing(store: Store) -> None:
    """No entry, no name, nothing half-made."""
    assert list(store.root.glob("entries/*/*")) == []
    assert store.aliases() == []
    assert list(store.root.glob("scratch/*")) == []


def test_there_and_back(entry: Entry, archive: Path, other: Store, told: Told) -> None:
    """The same content under the same address, and the moving name means it there too."""
    (brought,) = import_archive(other, archive, told)
    assert brought.pin == entry.pin
    assert listing(brought.path) == listing(entry.path)
    assert other.aliased("debian", "sid tool") == brought
    assert isinstance(told[-1], Progress)
    assert told[-1].finished


def test_the_same_again_changes_nothing(archive: Path, other: Store) -> None:
    """What is here is kept."""
    (first,) = import_archive(other, archive, tell_nobody)
    inode = first.path.stat().st_ino
    (again,) = import_archive(other, archive, tell_nobody)
    assert again.path.stat().st_ino == inode


def test_another_content_under_the_same_address(archive: Path, entry: Entry, other: Store, told: Told) -> None:
    """What is here is kept here too, and that is told; a name that means something here keeps meaning it."""
    own = other.entry("debian", {"packages": ["a=1"]}, lambda tree: (tree / "own").touch(), tell_nobody)
    newer = other.entry("debian", {"packages": ["a=2"]}, lambda tree: None, tell_nobody)
    other.set_alias("debian", "sid tool", newer)
    (kept,) = import_archive(other, archive, told)
    assert kept.manifest["content"] == own.manifest["content"] != entry.manifest["content"]
    assert other.aliased("debian", "sid tool") == newer
    assert any(isinstance(event, Note) and "kept as it was" in event.text for event in told)


def test_what_was_tampered_with_is_refused(archive: Path, other: Store) -> None:
    """One byte of one file."""

    def change(member: tarfile.TarInfo, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if member.name.endswith("usr/bin/tool") else data

    with pytest.raises(Unusable, match="not what its digests say; nothing was imported"):
        import_archive(other, rewritten(archive, change), tell_nobody)
    assert_nothing(other)


@pytest.mark.parametrize("part", ["manifest.json", "files.json", "usr/bin/tool", "outside"])
def test_what_is_missing_is_noticed(archive: Path, other: Store, part: str) -> None:
    """No part of an entry can be left out."""
    changed = rewritten(archive, lambda member, data: None if member.name.endswith(part) else data)
    with pytest.raises(Unusable, match="not what its digests say"):
        import_archive(other, changed, tell_nobody)
    assert_nothing(other)


def test_an_address_that_was_not_earned(archive: Path, other: Store) -> None:
    """The address is the digest of the key."""

    def change(member: tarfile.TarInfo, data: bytes) -> bytes:
        return data.replace(b"a=1", b"a=9") if member.name.endswith("manifest.json") else data

    with pytest.raises(Unusable, match="not what its digests say"):
        import_archive(other, rewritten(archive, change), tell_nobody)
    assert_nothing(other)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    """A member to be smuggled in."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, size, 0o644
    return info


@pytest.mark.parametrize(
    "smuggled",
    [
        [member("../../escaped")],
        [member("/escaped")],
        [member("debian/DIGEST/tree/../../../../escaped")],
        [member("debian/DIGEST/tree/./escaped")],
        [member("debian/DIGEST/escaped")],
        [member("escaped")],
        [member("aliases.json", tarfile.SYMTYPE, "debian/DIGEST/manifest.json")],
        [member("debian/DIGEST/tree/bin/escaped")],
        [member("debian/DIGEST/tree/way", tarfile.SYMTYPE, "/tmp"), member("debian/DIGEST/tree/way/escaped")],
        [member("debian/DIGEST/tree/outside")],
        [member("debian/DIGEST/tree/disk", tarfile.BLKTYPE)],
        [member("debian/DIGEST/tree/pipe", tarfile.FIFOTYPE)],
        [member("debian/DIGEST/tree/hard", tarfile.LNKTYPE, "debian/DIGEST/tree/usr/bin/tool")],
    ],
    ids=lambda smuggled: smuggled[-1].name,
)
def test_nothing_leads_out(
    archive: Path, entry: Entry, other: Store, smuggled: list[tarfile.TarInfo], tmp_path: Path
) -> None:
    """Names, links and devices of an archive are not trusted."""
    for info in smuggled:
        info.name = info.name.replace("DIGEST", entry.digest)
    with pytest.raises(Unusable, match="is refused"):
        import_archive(other, rewritten(archive, as_it_is, *smuggled), tell_nobody)
    assert_nothing(other)
    assert list(tmp_path.rglob("escaped")) == []


@pytest.mark.parametrize("keep", [0, 10, 512, 1500, 8000])
def test_an_archive_that_was_cut(archive: Path, other: Store, keep: int) -> None:
    """An interrupted copy leaves nothing."""
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(PassthruError):
        import_archive(other, archive, tell_nobody)
    assert_nothing(other)


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, b"\x1f\x8bgarbage"])
def test_what_is_no_archive(tmp_path: Path, other: Store, content: bytes) -> None:
    """The user named the wrong file."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserMistake, match="passthru cache export"):
        import_archive(other, path, tell_nobody)
    with pytest.raises(UserMistake, match="cannot read"):
        import_archive(other, tmp_path / "missing", tell_nobody)


def test_a_kill_during_an_import_leaves_nothing(archive: Path, other: Store) -> None:
    """Nothing is seen before all of it was verified."""
    snippet = f"""
import passthru.image.archive as module
original = module._verified
def stopping(home, path):
    say("verifying")
    sys.stdin.readline()
    return original(home, path)
module._verified = stopping
module.import_archive(store, Path({str(archive)!r}), tell)
"""
    victim = processes.start(snippet, other.root)
    assert processes.line(victim) == "verifying"
    processes.kill(victim)
    other.sweep()
    assert_nothing(other)


def test_an_export_that_cannot_be_written(store: Store, entry: Entry, tmp_path: Path) -> None:
    """No directory there, or no room: a sentence, and no half of a file."""
    with pytest.raises(Unusable, match="cannot write"):
        export(store, [entry], tmp_path / "missing" / "cache.tar", tell_nobody)
    assert not (tmp_path / "missing").exists()


def test_an_export_on_a_full_disk_leaves_no_half(tmp_path: Path) -> None:
    """What was there before stays."""
    snippet = """
from passthru.image.archive import export
def build(tree):
    (tree / "large").write_bytes(bytes(600_000))
entry = store.entry("thing", {"a": "1"}, build, tell)
target = store.root.parent / "cache.tar"
target.write_text("before")
try:
    export(store, [entry], target, tell)
except PassthruError as error:
    say(error)
say(sorted(path.name for path in target.parent.iterdir()))
say(target.read_text())
"""
    said = processes.on_small_disk(snippet, tmp_path / "disk")
    assert "cannot write" in said
    assert "No space left" in said
    assert said.splitlines()[-2:] == ["['cache', 'cache.tar']", "before"]
